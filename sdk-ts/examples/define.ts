import { defineCommand } from "haulier";
import { z } from "zod"; // or any other Standard Schema library, or types alone

export const resize = defineCommand({
  name: "resize",
  request: z.object({ image: z.string(), width: z.int().positive() }),
  result: z.string(),
});
