// SHA-256 (FIPS 180-4): pages that do not come over https have no crypto.subtle.
const primes = [...Array(312).keys()].filter((n) => n > 1 && ![...Array(n).keys()].some((d) => d > 1 && d * d <= n && n % d === 0));
const fraction = (value) => ((value - Math.floor(value)) * 2 ** 32) | 0;
const K = primes.slice(0, 64).map((n) => fraction(Math.cbrt(n)));
export function sha256(bytes) {
  const padded = new Uint8Array((bytes.length + 72) & ~63), words = new DataView(padded.buffer), w = new Int32Array(64);
  padded.set(bytes); padded[bytes.length] = 128;
  words.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29)); words.setUint32(padded.length - 4, bytes.length << 3);
  const hash = primes.slice(0, 8).map((n) => fraction(Math.sqrt(n))), turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = words.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) w[i] = (w[i - 16] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3)) + w[i - 7] + (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10))) | 0;
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { hash[i] = (hash[i] + value) | 0; });
  }
  return hash.map((value) => (value >>> 0).toString(16).padStart(8, "0")).join("");
}
