/** The manifests of deploy/kubernetes and the compose file, as files; the docker tier builds and runs them. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { settings } from '../../src/settings.ts';
import { metricTable } from '../../src/telemetry/metric-table.ts';
import { type KubernetesObject, problemsOf } from '../support/kubernetes.ts';

const FOLDER = 'deploy/kubernetes';
/** After SHUTDOWN_GRACE the process ends within so long (src/cli/start.ts), s. */
const END_S = 2;

const yaml = <T>(path: string): T => parse(readFileSync(path, 'utf8')) as T;
const files = globSync(`${FOLDER}/**/*.yaml`);
const isKustomization = (path: string) => basename(path) === 'kustomization.yaml';

interface Kustomization {
  resources?: string[];
  components?: string[];
  patches?: { path?: string; patch?: string }[];
}

describe('Kubernetes manifests', () => {
  const objects = files.flatMap((path) =>
    isKustomization(path)
      ? []
      : parseAllDocuments(readFileSync(path, 'utf8')).map((document) => ({
          path,
          object: document.toJS() as KubernetesObject,
        })),
  );
  // A list is a JSON patch.
  const manifests = objects.filter(({ object }) => !Array.isArray(object));

  it.each(manifests)('$path is as its schema says, to the last field', ({ object }) => {
    expect(problemsOf(object)).toEqual([]);
  });

  it('is not satisfied with a misspelt field, a wrong type or a missing one', () => {
    const deployment = yaml<KubernetesObject & { spec: Record<string, unknown> }>(
      `${FOLDER}/base/deployment.yaml`,
    );
    const change = (spec: Record<string, unknown>) =>
      problemsOf({ ...deployment, spec: { ...deployment.spec, ...spec } } as KubernetesObject);
    expect(change({ replicaz: 2 })).toEqual(['.spec.replicaz: no such field']);
    expect(change({ replicas: '2' })).toEqual([expect.stringContaining('replicas')]);
    expect(change({ selector: undefined })).toEqual([expect.stringContaining('selector')]);
  });

  it('scales by metrics that there are', () => {
    const scaled = readFileSync(`${FOLDER}/components/keda/scaled-object.yaml`, 'utf8');
    const asked = new Set(scaled.match(/holdfast_\w+/g));
    expect([...asked].filter((name) => !(name in metricTable))).toEqual([]);
    expect(asked.size).toBe(2);
  });

  it('sets only what Holdfast knows', () => {
    const { configMapGenerator } = yaml<{ configMapGenerator: { literals: string[] }[] }>(
      `${FOLDER}/base/kustomization.yaml`,
    );
    const names = configMapGenerator.flatMap(({ literals }) =>
      literals.map((literal) => literal.split('=')[0]!.replace(/_FILE$/, '')),
    );
    expect(names.filter((name) => !(name in settings))).toEqual([]);
  });

  it.each(files.filter(isKustomization))('%s names only what is there', (path) => {
    const { resources = [], components = [], patches = [] } = yaml<Kustomization>(path);
    const named = [...resources, ...components, ...patches.flatMap(({ path }) => path ?? [])];
    const missing = named.filter((name) => {
      const target = join(dirname(path), name);
      return !existsSync(name.endsWith('.yaml') ? target : join(target, 'kustomization.yaml'));
    });
    expect(missing).toEqual([]);
    expect(named.length).toBeGreaterThan(0);
  });
});

describe('the pod', () => {
  const { template } = yaml<PodOwner>(`${FOLDER}/base/deployment.yaml`).spec;
  const [container] = template.spec.containers;
  const graceS = shutdownGraceS(
    yaml<{ configMapGenerator: { literals: string[] }[] }>(`${FOLDER}/base/kustomization.yaml`)
      .configMapGenerator.flatMap(({ literals }) => literals)
      .map((literal) => literal.split('='))
      .find(([name]) => name === 'SHUTDOWN_GRACE')?.[1],
  );

  it('is given the time that a graceful end may take', () => {
    const preStopS = Number(
      /sleep (\d+)/.exec(container!.lifecycle.preStop.exec.command.join(' '))?.[1],
    );
    expect(template.spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
      preStopS + graceS + END_S,
    );
  });

  it('is asked for its life where Redis does not matter, and for its readiness where it does', () => {
    expect(container!.livenessProbe.httpGet.path).toBe('/livez');
    expect(container!.readinessProbe.httpGet.path).toBe('/readyz');
    expect(container!.startupProbe.httpGet.path).toBe('/startupz');
  });

  it('has no right that it does not need', () => {
    expect(template.spec.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000 });
    expect(container!.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });
});

describe('the compose file', () => {
  const { services } = yaml<{ services: Record<string, ComposeService> }>('docker-compose.yml');
  const { worker } = services;

  it('gives the worker the time that a graceful end may take', () => {
    const graceS = shutdownGraceS(worker!.environment?.SHUTDOWN_GRACE);
    expect(Number.parseInt(worker!.stop_grace_period!, 10)).toBeGreaterThanOrEqual(graceS + END_S);
  });

  it('can be scaled: no fixed name, and a range of ports that only this machine reaches', () => {
    expect(worker).not.toHaveProperty('container_name');
    expect(worker!.ports).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+-\d+:8080$/)]);
  });

  it('sets only what Holdfast knows', () => {
    const names = Object.keys(worker!.environment ?? {}).map((name) => name.replace(/_FILE$/, ''));
    expect(names.filter((name) => !(name in settings))).toEqual([]);
  });

  it('has no token that is the same everywhere', () => {
    for (const { environment } of [worker!, services.app!]) {
      expect(environment).toMatchObject({
        HTTP_TOKEN: expect.stringMatching(/^\$\{HTTP_TOKEN:-\}$/),
      });
      expect(environment?.HTTP_TOKEN_FILE).toMatch(/^\/data\/secrets\//);
    }
  });

  it('lets the user of the image reach what is mounted below /data, in the app too', () => {
    // Docker gives a tmpfs the mode of the image's folder, 0700, and root for an owner.
    for (const { tmpfs } of [worker!, services.app!]) {
      expect(tmpfs).toContain('/data:uid=1000,gid=1000,mode=0700');
    }
  });

  it('keeps on volumes what must outlive a container', () => {
    const mounted = worker!.volumes?.map((volume) => volume.split(':')[1]);
    expect(mounted).toEqual(
      expect.arrayContaining(['/data/journal', '/data/outages', '/data/output', '/data/secrets']),
    );
  });
});

/** Both files say it in seconds. */
function shutdownGraceS(text: string | undefined): number {
  expect(text).toMatch(/^\d+s$/);
  return Number.parseInt(text!, 10);
}

interface Probe {
  httpGet: { path: string };
}
interface PodOwner {
  spec: {
    template: {
      spec: {
        terminationGracePeriodSeconds: number;
        securityContext: Record<string, unknown>;
        containers: {
          livenessProbe: Probe;
          readinessProbe: Probe;
          startupProbe: Probe;
          lifecycle: { preStop: { exec: { command: string[] } } };
          securityContext: Record<string, unknown>;
        }[];
      };
    };
  };
}
interface ComposeService {
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  tmpfs?: string[];
  stop_grace_period?: string;
}
