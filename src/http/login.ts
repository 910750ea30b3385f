/**
 * How a browser gets in where a token is asked for: the form at /login takes it once and gives a
 * cookie that scripts cannot read and other sites cannot send. Works without JavaScript. The token
 * itself is never kept, shown again or put into an address.
 */
import fastifyCookie from '@fastify/cookie';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { cookieNameOf, isTls } from './access.ts';
import type { HttpContext } from './context.ts';
import type { Limits } from './limits.ts';
import { sendPage } from './pages.ts';
import { SESSION_SECONDS, sessionOf } from './session.ts';

/** A token and its field; more is no form of ours. */
const FORM_BYTES_MAX = 8192;
const FORM = 'application/x-www-form-urlencoded';

export async function registerLogin(
  app: FastifyInstance,
  context: HttpContext,
  limits: Limits,
): Promise<void> {
  const { access, config } = context;
  const { publicUrl } = config.http;
  const cookie = cookieNameOf(publicUrl);
  const scope = {
    path: '/',
    httpOnly: true,
    sameSite: 'strict',
    secure: isTls(publicUrl),
  } as const;

  // Only in here: elsewhere a form of another page must not be understood at all.
  app.addContentTypeParser(
    FORM,
    { parseAs: 'string', bodyLimit: FORM_BYTES_MAX },
    (_request, body, done) => done(null, new URLSearchParams(`${body}`)),
  );
  await app.register(fastifyCookie);

  app.get('/login', async (request, reply) => {
    if (access.scopeOf(request.headers) !== undefined) return reply.redirect('/', 303);
    return sendPage(reply, 'login.html');
  });

  app.post('/login', { bodyLimit: FORM_BYTES_MAX }, async (request, reply) => {
    if (limits.wrongTokens.isSpent(request.ip)) throw limits.tooManyWrongTokens(request.ip);
    const token = request.body instanceof URLSearchParams ? request.body.get('token')?.trim() : '';
    const granted = token ? access.scopeOfToken(token) : undefined;
    if (granted === undefined) {
      limits.wrongTokens.count(request.ip);
      return sendPage(reply, 'login-refused.html', 401);
    }
    const value = sessionOf(granted, access.tokens, Date.now());
    reply.setCookie(cookie, value, { ...scope, maxAge: SESSION_SECONDS });
    return reply.redirect('/', 303);
  });

  app.post('/logout', async (_request, reply) => {
    reply.clearCookie(cookie, scope);
    return reply.redirect('/login', 303);
  });
}

/** A person who opened a page without the cookie is shown the form instead of a problem document. */
export function wantsForm(request: FastifyRequest): boolean {
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  return isRead && (request.headers.accept?.includes('text/html') ?? false);
}

export function sendToForm(reply: FastifyReply): FastifyReply {
  return reply.redirect('/login', 303);
}
