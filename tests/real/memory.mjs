// Where the provider keeps what it issued. The memory that oidc-provider brings forgets the oldest of some thousand things, and
// a refresh token that was forgotten looks like one that never was.
const things = new Map(); // model and id -> { payload, expiresAt }
const sessions = new Map(); // uid -> id
const grants = new Map(); // grant -> what was issued under it

const ISSUED = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

export class Memory {
  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload, expiresIn) {
    const key = this.#key(id);
    things.set(key, { payload, expiresAt: expiresIn === undefined ? Infinity : Date.now() + expiresIn * 1000 });
    if (this.model === 'Session') sessions.set(payload.uid, id);
    if (ISSUED.has(this.model) && payload.grantId !== undefined) {
      if (!grants.has(payload.grantId)) grants.set(payload.grantId, new Set());
      grants.get(payload.grantId).add(key);
    }
  }

  async find(id) {
    const thing = things.get(this.#key(id));
    return thing && Date.now() < thing.expiresAt ? { ...thing.payload } : undefined;
  }

  async findByUid(uid) {
    return this.find(sessions.get(uid));
  }

  async consume(id) {
    const thing = things.get(this.#key(id));
    if (thing) thing.payload = { ...thing.payload, consumed: Math.floor(Date.now() / 1000) };
  }

  async destroy(id) {
    things.delete(this.#key(id));
  }

  async revokeByGrantId(grantId) {
    for (const key of grants.get(grantId) ?? []) things.delete(key);
    grants.delete(grantId);
  }

  #key(id) {
    return `${this.model}:${id}`;
  }
}
