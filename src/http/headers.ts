/**
 * The headers of every answer. Pages may load what this service itself serves and nothing else: no
 * script, style or picture of another origin, no inline script, no frame around or in them.
 */
import fastifyHelmet, { type FastifyHelmetOptions } from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';

/** A year, as browsers' preload lists ask for; sent only where the service is reached by TLS. */
const HSTS_SECONDS = 31_536_000;

/** For pages that we wrote. An answer of the API loads nothing, so it may be the same. */
const DIRECTIVES = {
  'default-src': ["'none'"],
  'base-uri': ["'none'"],
  'connect-src': ["'self'"],
  'form-action': ["'self'"],
  'frame-ancestors': ["'none'"],
  'img-src': ["'self'"],
  'script-src': ["'self'"],
  'script-src-attr': ["'none'"],
  'style-src': ["'self'"],
};

/**
 * bull-board sets style attributes while it draws and names its own folder as base. Scripts stay as
 * strict as on our pages; its web font from another site is not loaded.
 */
export const BOARD_POLICY: FastifyHelmetOptions = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      ...DIRECTIVES,
      'base-uri': ["'self'"],
      'font-src': ["'self'"],
      'img-src': ["'self'", 'data:'],
      'style-src': ["'self'", "'unsafe-inline'"],
    },
  },
};

/** `isTls`: browsers reach the service by https. */
export function registerHeaders(app: FastifyInstance, isTls: boolean): void {
  app.register(fastifyHelmet, {
    contentSecurityPolicy: { useDefaults: false, directives: DIRECTIVES },
    frameguard: { action: 'deny' },
    // Each header costs something with each request: none for browsers and plug-ins of the past.
    originAgentCluster: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xPoweredBy: false,
    xXssProtection: false,
    // `no-referrer` would make browsers send `Origin: null` with our own forms.
    referrerPolicy: { policy: 'same-origin' },
    strictTransportSecurity: isTls && { maxAge: HSTS_SECONDS, includeSubDomains: false },
  });
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('cache-control', 'no-store');
  });
}
