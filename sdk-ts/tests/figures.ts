import { appendFileSync } from "node:fs";

/** Tells a measured figure: to whoever looks, and to the file HAULIER_FIGURES, which the tests of the whole repository show. */
export function figure(text: string): void {
  console.log(text);
  const file = process.env.HAULIER_FIGURES;
  if (file) appendFileSync(file, `${text}\n`);
}
