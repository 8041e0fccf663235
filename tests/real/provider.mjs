// npm oidc-provider as a process of its own: a provider that shares no code with Cloakroom.
//
// Settings come from the environment, events leave as one JSON object per line on stdout; the first is
// {"event":"ready","issuer":…}. Everybody may log in with any password (the provider's development forms).
//
//   PORT            where to listen on 127.0.0.1; 0 or absent takes a free one
//   ISSUER          what it calls itself, if it is reached through something else
//   CLIENT_URL      the relying party's URL, without a trailing slash
//   CLIENT_ID       its registration, registered byte for byte; both may hold any printable ASCII
//   CLIENT_SECRET
//   USERINFO        json | signed
//   AT_TTL          lifetime of access tokens, in seconds
//   AT_TTL_REFRESHED  the same for those that come from a refresh; absent: no difference
//   REUSE_GRACE     for how many seconds a refresh token that was rotated may come again; 0: a second use ends the grant
//   BACKCHANNEL     sid | sub: tells the client of logouts, and of which; absent: does not
//   CONSENT         ask | given: whether the provider asks the person, after the password, if the client may
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';
import { Memory } from './memory.mjs';

const env = (name, fallback) => {
  const value = process.env[name] ?? fallback;
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};
const say = (event, members = {}) => process.stdout.write(`${JSON.stringify({ event, ...members })}\n`);

const clientUrl = env('CLIENT_URL');
const accessTokenLifetime = Number(env('AT_TTL', '300'));
const refreshedLifetime = Number(env('AT_TTL_REFRESHED', String(accessTokenLifetime)));
const reuseGrace = Number(env('REUSE_GRACE', '0'));
const backchannel = process.env.BACKCHANNEL;
const scopes = ['openid', 'offline_access', 'profile', 'email'];

const server = createServer();
await new Promise((listening, failed) => server.once('error', failed).listen(Number(env('PORT', '0')), '127.0.0.1', listening));
const issuer = env('ISSUER', `http://127.0.0.1:${server.address().port}`);

// A restart brings new keys, as a rotation at a provider would.
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signingKey = { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: `rs256-${Date.now()}` };

const provider = new Provider(issuer, {
  adapter: Memory,
  jwks: { keys: [signingKey] },
  cookies: { keys: ['a key for the cookies of a provider in a test'] },
  clients: [{
    client_id: env('CLIENT_ID', 'cloakroom'),
    client_secret: env('CLIENT_SECRET'),
    token_endpoint_auth_method: 'client_secret_basic',
    redirect_uris: [`${clientUrl}/bff/callback`],
    post_logout_redirect_uris: [`${clientUrl}/bff/logged-out`],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    ...(env('USERINFO', 'json') === 'signed' && { userinfo_signed_response_alg: 'RS256' }),
    ...(backchannel && { backchannel_logout_uri: `${clientUrl}/bff/backchannel-logout`, backchannel_logout_session_required: backchannel === 'sid' }),
  }],
  scopes,
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], acr: null, auth_time: null, sid: null },
  // Claims of scopes are at userinfo only, as OIDC Core §5.4 says for the code flow.
  conformIdTokenClaims: true,
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: `User ${sub}`, preferred_username: sub, email: `${sub}@example.test`, email_verified: true }),
  }),
  ...(env('CONSENT', 'ask') === 'given' && { loadExistingGrant: grantEverything }),
  pkce: { required: () => true },
  // Its own dispatcher refuses loopback, where the client is.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true, // a refresh token used twice ends the whole grant, unless it comes within the grace
  ttl: { AccessToken: (ctx) => (ctx?.oidc?.params?.grant_type === 'refresh_token' ? refreshedLifetime : accessTokenLifetime), AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86_400, Grant: 86_400, Session: 86_400, Interaction: 600 },
  features: {
    backchannelLogout: { enabled: backchannel !== undefined },
    devInteractions: { enabled: true },
    jwtUserinfo: { enabled: true },
    revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: true },
  },
});

// `issued` lets a test search what the relying party logs and answers for the very strings it was given.
provider.on('grant.success', (ctx) => {
  const { access_token, refresh_token, id_token } = ctx.body;
  say('grant', { grant_type: ctx.oidc.params.grant_type, issued: { access_token, refresh_token, id_token } });
});
provider.on('grant.error', (ctx, error) => say('grant-refused', { grant_type: ctx.oidc.params?.grant_type, error: error.error ?? error.message, detail: error.error_detail }));
provider.on('grant.revoked', () => say('grant-revoked'));
provider.on('end_session.success', () => say('session-ended'));
provider.on('backchannel.success', () => say('client-told'));
provider.on('backchannel.error', (_ctx, error) => say('client-not-told', { error: error.message }));
provider.on('server_error', (_ctx, error) => say('broken', { error: String(error.stack ?? error) }));
provider.use(async (ctx, next) => {
  await next();
  say('request', { method: ctx.method, path: ctx.path, status: ctx.status });
});

// Grace, as providers offer it under names like "reuse interval": a rotated token that comes again in time is taken as if it had
// not been used, and answered with a fresh pair of the same grant. Only the copy that was found forgets its use.
if (reuseGrace > 0) {
  const { RefreshToken } = provider;
  const find = RefreshToken.find.bind(RefreshToken);
  RefreshToken.find = async (...args) => {
    const token = await find(...args);
    if (token?.consumed && Math.floor(Date.now() / 1000) - token.consumed <= reuseGrace) {
      token.consumed = undefined;
      say('reuse-allowed');
    }
    return token;
  };
}

async function grantEverything(ctx) {
  const { client, session } = ctx.oidc;
  const grantId = session.grantIdFor(client.clientId);
  // Revoking a token ends its grant, and the session does not hear of it.
  const known = grantId && (await provider.Grant.find(grantId));
  if (known) return known;
  const grant = new provider.Grant({ accountId: session.accountId, clientId: client.clientId });
  grant.addOIDCScope(scopes.join(' '));
  await grant.save();
  return grant;
}

server.on('request', provider.callback());
say('ready', { issuer });
