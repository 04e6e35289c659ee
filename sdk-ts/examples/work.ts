import { Worker } from "haulier";
import { resize } from "./define.js";

const worker = new Worker({ slots: 4 });

worker.handle(resize, async (job, { image, width }) => {
  job.log.info("resizing", { image });
  job.progress(0.5, "half way");
  return `${image}@${width}`;
});

await worker.run(); // until SIGTERM
