// The page of a check folder in headless Chromium: node page_check.mjs ADDRESS; prints its result.
// Needs npm's playwright-core in the current folder, and Debian's chromium.

import { createRequire } from "node:module";

const { chromium } = createRequire(process.cwd() + "/")("playwright-core");
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(process.argv[2]);
await page.waitForFunction(() => window.result || /bad/.test(document.getElementById("verdict").className), null, { timeout: 0 });
const found = await page.evaluate(() => window.result ?? document.getElementById("verdict").innerText);
await browser.close();
if (typeof found === "string") { console.error(`Error: ${found}`); process.exit(1); }
console.log(JSON.stringify(found));
