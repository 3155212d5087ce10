// Talks with the machine that serves the page. A link is good for one device, whose key is kept until its tab is closed.

const PLACE = "genq-export key", WAITS = [1, 2, 4, 8, 15]; // seconds
let key = null;

export class Refused extends Error {}

export async function enter() {
  const token = location.hash.slice(1);
  if (!token && sessionStorage.getItem(PLACE)) { key = sessionStorage.getItem(PLACE); return; }
  ({ key } = await asked("key", { method: "POST", headers: { Authorization: `Bearer ${token}` } }));
  sessionStorage.setItem(PLACE, key);
  history.replaceState(null, "", location.pathname);
}

export const withKey = () => ({ headers: { Authorization: `Bearer ${key}` } });
export const get = (name) => asked(name, withKey());

// A phone may have slept, or lost its network: the answer is sent until it has arrived.
export async function send(answer, say) {
  const body = JSON.stringify(answer), headers = { ...withKey().headers, "Content-Type": "application/json" };
  for (const wait of [...WAITS, null]) {
    try { return await asked("answer", { method: "POST", headers, body }); } catch (error) {
      if (error instanceof Refused || wait === null) throw error;
      say(`${error.message} Sending again in ${wait} s.`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
    }
  }
}

async function asked(name, options) {
  const answer = await fetch(name, { cache: "no-store", ...options }).catch(() => null);
  if (answer === null) throw new Error("The machine that serves this page does not answer.");
  const content = await answer.json().catch(() => ({ error: `It answers ${answer.status}.` }));
  if (answer.status === 503) throw new Error(`The build is in use there: ${content.error}.`);
  if (!answer.ok) throw new Refused(content.error);
  return content;
}
