/**
 * Cloakroom, from the page's side. Served as `{base_path}/cloakroom.js` (usually `/bff/cloakroom.js`), with these types beside it.
 * It finds its endpoints by its own address, so load it from there and leave it out of bundles.
 */

/** A live session, as pages see it. Times are RFC 3339, UTC. */
export interface Session {
  /** Names the session without opening it: 16 hex digits. A login gives it a new one. */
  tag: string;
  created_at: string;
  /** The absolute limit. Nothing moves it. */
  expires_at: string;
  /** The idle limit. Every use of the session moves it. */
  idle_expires_at: string;
  /** Seconds until the session is over: the smaller of what both limits leave. */
  expires_in: number;
}

/** Who is logged in. */
export type User =
  | {
      authenticated: true;
      sub: string;
      /** What the provider says of the person; without `sid`, `nonce`, `at_hash`. */
      claims: Record<string, unknown>;
      session: Session;
      login_url: string;
      logout_url: string;
    }
  | { authenticated: false; login_url: string };

/** One of the person's own sessions. */
export interface OwnSession {
  tag: string;
  created_at: string;
  last_seen_at: string;
  /** Such as `Firefox on Windows`; null if the browser does not say. */
  device: string | null;
  /** Whether it is this browser's. */
  current: boolean;
}

/** What became of the session. Every tab is told, whichever of them has the stream. */
export type SessionEvent =
  /** There is a session: told on connecting, after a login, and whenever somebody looked again. `expires_in` is fresh. */
  | ({ type: "session" } & Session)
  /** It ends in this many seconds unless somebody uses it: at about 120 and at about 30. */
  | { type: "expiring"; expires_in: number }
  /** Its tokens were renewed. Nothing to do. */
  | { type: "refreshed" }
  /** A newer login of the same person took its place. `session` follows, with a new tag, when its cookie has come. */
  | { type: "replaced" }
  /** Its access token has run out and cannot be renewed: API calls need a new login, the session stays. */
  | { type: "token-expired" }
  /**
   * There is none, or none any more; told once, and again after `user()` has found somebody. `reason` is one of `logout`, `expired`,
   * `provider-logout`, `replaced-by-other-user`, `refresh-refused`, `refresh-lost`, `by-user`, `limit`, `admin`, or `unknown`: nobody
   * remembers, or there never was one.
   */
  | { type: "ended"; reason: string };

/** Why a call was refused (RFC 9457). */
export interface Problem {
  /** `…/problems/<slug>`: a page that explains it. */
  type: string;
  title: string;
  status: number;
  detail?: string;
  request_id?: string;
  login_url?: string;
}

/** An endpoint of Cloakroom said no. */
export class CloakroomError extends Error {
  readonly status: number;
  /** Null if the answer was not Cloakroom's. */
  readonly problem: Problem | null;
}

export interface LoginOptions {
  /**
   * Where to come back to: a path of the app, or a whole URL of its origin. If left out, the present address, with its fragment and
   * without `login_error`.
   */
  returnTo?: string;
  /** Keeps the session when the browser closes. */
  remember?: boolean;
  /**
   * The `login_url` of a 401. If that asks for a stronger login, it becomes that one, and of these options only `returnTo` counts
   * beside it. Nothing else of the URL counts.
   */
  url?: string;
  /** These go to the provider, where the configuration allows them (`allowed_login_parameters`). */
  prompt?: string;
  login_hint?: string;
  acr_values?: string;
  max_age?: number;
  ui_locales?: string;
}

/**
 * Who is logged in; nobody is an answer too. Counts as use of the session, unless `slide` is false.
 * @throws {CloakroomError} the store is away (503)
 */
export function user(options?: { slide?: boolean }): Promise<User>;

/**
 * Leaves the page for the login.
 * @throws {TypeError} `url` is not Cloakroom's login
 */
export function login(options?: LoginOptions): void;

/** Where {@link login} would go: for a link. */
export function loginUrl(options?: LoginOptions): string;

/**
 * Ends the session, and leaves the page for the provider, which ends its own; or, with `local`, for the page after logout. Other
 * tabs are told.
 * @throws {CloakroomError} nothing was ended
 */
export function logout(options?: { local?: boolean }): Promise<void>;

/**
 * `fetch` with the header that proves that the call is ours, on this origin only. If Cloakroom refuses it for want of a login, or of
 * a stronger one, the page leaves for that login and comes back to the present address; however many calls are refused meanwhile.
 * They get their 401 all the same.
 */
export function fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

/**
 * Is called before a refused call leads to the login: save a draft, ask the person. Once for all calls that are refused until it has
 * decided, which may take as long as it likes: they wait. `false` stays on the page; an error it throws is reported, and the page
 * leaves. There is one handler; `undefined` removes it.
 */
export function beforeLogin(handler: ((problem: Problem) => unknown) | undefined): void;

/** Tells `listener` what becomes of the session, beginning with how things stand. Returns how to stop that. */
export function onSession(listener: (event: SessionEvent) => void): () => void;

/**
 * The person's own live sessions, on all devices.
 * @throws {CloakroomError} as all three do; a 401 leads to the login first, like one of {@link fetch}
 */
export function sessions(): Promise<OwnSession[]>;

/**
 * Ends one of them.
 * @throws {CloakroomError} there is no such session (404)
 */
export function endSession(tag: string): Promise<void>;

/** Ends all of them but this one. */
export function endOtherSessions(): Promise<void>;
