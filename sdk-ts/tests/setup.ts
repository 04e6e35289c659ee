import type { TestProject } from "vitest/node";
import { RealServer } from "./real-server.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** Address of the server that the tests of this session share. */
    address: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await RealServer.start();
  project.provide("address", server.address);
  return () => server.stop();
}
