// An app's use of the module, compiled and not run: every call, with what it may be given and what it answers.
import {
  beforeLogin, CloakroomError, endOtherSessions, endSession, fetch, login, loginUrl, logout, onSession, sessions, user,
  type OwnSession, type SessionEvent, type User,
} from '/bff/cloakroom.js';

const who: User = await user({ slide: false });
if (who.authenticated) {
  const left: number = who.session.expires_in;
  const name: unknown = who.claims.name;
  console.log(who.sub, left, name);
} else {
  login({ returnTo: '/cart', remember: true, prompt: 'login', max_age: 60 });
  // @ts-expect-error nobody is logged in
  console.log(who.session);
}

const response: Response = await fetch(new URL('/api/orders', location.href), { method: 'POST', body: '{}' });
const link: string = loginUrl({ url: (await response.json()).login_url });
beforeLogin(async (problem) => confirm(problem.detail ?? link));
beforeLogin(undefined);

function seconds(event: SessionEvent): number {
  switch (event.type) {
    case 'session':
    case 'expiring':
      return event.expires_in;
    case 'ended':
      return event.reason.length;
    default:
      return 0;
  }
}
const stop: () => void = onSession((event) => console.log(seconds(event)));
stop();

const own: OwnSession[] = await sessions();
await Promise.all(own.filter(({ current }) => !current).map(({ tag }) => endSession(tag)));
await endOtherSessions();
try {
  await logout({ local: true });
} catch (error) {
  if (error instanceof CloakroomError) console.log(error.status, error.problem?.title);
}
// @ts-expect-error there is no such option
await logout({ everywhere: true });
