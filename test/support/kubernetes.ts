/**
 * Holds Kubernetes objects against their schemas. The schemas of the library let unknown fields pass, as
 * the API server does too until something is missing at run time: here a field that no schema has
 * looked at is a mistake.
 */
import { validate as deployment } from 'kubernetes-models/_schemas/IoK8sApiAppsV1Deployment';
import { validate as statefulSet } from 'kubernetes-models/_schemas/IoK8sApiAppsV1StatefulSet';
import { validate as configMap } from 'kubernetes-models/_schemas/IoK8sApiCoreV1ConfigMap';
import { validate as service } from 'kubernetes-models/_schemas/IoK8sApiCoreV1Service';
import { validate as disruptionBudget } from 'kubernetes-models/_schemas/IoK8sApiPolicyV1PodDisruptionBudget';
import { z } from 'zod';

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
}

/** What KEDA 2.17 to 2.20 takes, as far as we use it; the library has no custom resources. */
const scaledObjectSchema = z.strictObject({
  apiVersion: z.literal('keda.sh/v1alpha1'),
  kind: z.literal('ScaledObject'),
  metadata: z.strictObject({ name: z.string() }),
  spec: z.strictObject({
    scaleTargetRef: z.strictObject({
      kind: z.enum(['Deployment', 'StatefulSet']),
      name: z.string(),
    }),
    minReplicaCount: z.int().min(1),
    maxReplicaCount: z.int(),
    pollingInterval: z.int(),
    fallback: z.strictObject({
      failureThreshold: z.int(),
      replicas: z.int(),
      behavior: z.enum(['static', 'currentReplicas', 'currentReplicasIfHigher']),
    }),
    advanced: z.strictObject({
      horizontalPodAutoscalerConfig: z.strictObject({
        behavior: z.record(
          z.enum(['scaleUp', 'scaleDown']),
          z.strictObject({
            stabilizationWindowSeconds: z.int(),
            policies: z
              .array(
                z.strictObject({
                  type: z.enum(['Pods', 'Percent']),
                  value: z.int(),
                  periodSeconds: z.int(),
                }),
              )
              .optional(),
          }),
        ),
      }),
    }),
    triggers: z.array(
      z.strictObject({
        type: z.literal('prometheus'),
        name: z.string(),
        // A fallback works with this one only.
        metricType: z.literal('AverageValue'),
        // KEDA wants texts, numbers too.
        metadata: z.strictObject({
          serverAddress: z.url(),
          query: z.string(),
          threshold: z.string(),
          ignoreNullValues: z.enum(['true', 'false']),
        }),
      }),
    ),
  }),
});

/** A validator that Ajv has compiled; the library's types keep quiet about `errors`. */
type Schema = ((data: unknown) => boolean) & {
  errors?: { instancePath: string; keyword: string; params: unknown }[] | null;
};

const SCHEMAS: Readonly<Record<string, Schema>> = {
  'apps/v1 Deployment': deployment,
  'apps/v1 StatefulSet': statefulSet,
  'policy/v1 PodDisruptionBudget': disruptionBudget,
  'v1 ConfigMap': configMap,
  'v1 Service': service,
};

/** What is wrong with an object, as lines; none when it is right. */
export function problemsOf(object: KubernetesObject): string[] {
  if (object.kind === 'ScaledObject') {
    const { error } = scaledObjectSchema.safeParse(object);
    return error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];
  }
  const kind = `${object.apiVersion} ${object.kind}`;
  const validate = SCHEMAS[kind];
  if (validate === undefined) return [`no schema for ${kind}`];
  const looked = new Set<string>();
  if (!validate(watched(object, '', looked))) {
    return (validate.errors ?? []).map(
      ({ instancePath, keyword, params }) =>
        `${instancePath}: ${keyword} ${JSON.stringify(params)}`,
    );
  }
  return fieldsOf(object, '')
    .filter((field) => !looked.has(field))
    .map((field) => `${field}: no such field`);
}

/** The same value, which notes each of its fields that is read. */
function watched<T extends object>(value: T, path: string, looked: Set<string>): T {
  return new Proxy(value, {
    get(target, key) {
      const field: unknown = Reflect.get(target, key);
      if (typeof key !== 'string' || !Object.hasOwn(target, key)) return field;
      looked.add(`${path}.${key}`);
      return isObject(field) ? watched(field, `${path}.${key}`, looked) : field;
    },
  });
}

function fieldsOf(value: object, path: string): string[] {
  return Object.entries(value).flatMap(([key, field]: [string, unknown]) => [
    `${path}.${key}`,
    ...(isObject(field) ? fieldsOf(field, `${path}.${key}`) : []),
  ]);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
