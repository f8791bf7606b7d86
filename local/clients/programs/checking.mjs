// What the Node programs share; see checking.py, whose lines these are.
export const FACTS = JSON.parse(process.env.CLIENT_FACTS);
export const USER = [{ role: "user", content: FACTS.question }];
export const WEATHER = [{ role: "user", content: FACTS.weather_prompt }];
export const LONG = [{ role: "user", content: FACTS.long_prompt }];

export function same(seen, wanted) {
  const [left, right] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`${left} in place of ${right}`);
}

export function refused(error) {
  return `${error.constructor.name}: ${String(error.message).replace(/\s+/g, " ").slice(0, 200)}`;
}

export async function run(checks) {
  let failed = 0;
  for (const [check, work] of Object.entries(checks)) {
    const began = Date.now();
    let ok = true;
    let seen;
    try {
      seen = (await work()) ?? "";
    } catch (error) {
      [ok, seen] = [false, refused(error)];
      failed += 1;
    }
    console.log(JSON.stringify({ check, ok, seen, seconds: (Date.now() - began) / 1000 }));
  }
  process.exit(failed ? 1 : 0);
}
