import { connect, createServer, type Server, type Socket } from "node:net";

/** What happens to a piece of bytes that passes a proxy. */
export type Fate = "pass" | "swallow" | "cut before" | "cut after";

/** A TCP proxy that cuts its connections or lets them fall silent: on command, or at a piece of bytes of its choice. */
export class CuttingProxy {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #port = 0;
  /** How many connections there were. */
  connections = 0;
  /** Asked for every piece of bytes, in either direction; connections count from 1. */
  at: (piece: number, direction: "up" | "down", connection: number) => Fate = () => "pass";
  #pieces = 0;

  private constructor(target: string) {
    const { hostname, port } = new URL(`http://${target}`);
    this.#server = createServer((near) => {
      const connection = ++this.connections;
      const far = connect(Number(port), hostname);
      this.#pass(near, far, "up", connection);
      this.#pass(far, near, "down", connection);
    });
  }

  static async start(target: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    const address = proxy.#server.address();
    proxy.#port = typeof address === "object" && address ? address.port : 0;
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Drops every connection. */
  cut(): void {
    for (const socket of [...this.#sockets]) socket.destroy();
  }

  stop(): void {
    this.#server.close();
    this.cut();
  }

  #pass(from: Socket, to: Socket, direction: "up" | "down", connection: number): void {
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on("data", (bytes) => {
      const fate = this.at(this.#pieces++, direction, connection);
      if (fate === "swallow") return;
      if (fate === "cut before") return this.cut();
      to.write(bytes, () => {
        if (fate === "cut after") this.cut();
      });
    });
  }
}
