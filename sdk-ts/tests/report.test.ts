import { create } from "@bufbuild/protobuf";
import { Payload } from "haulier";
import { describe, expect, test } from "vitest";
import { LeasedJobSchema } from "../src/gen/haulier/v1/lease_pb.js";
import { ReportAckSchema, ReportErrorCode } from "../src/gen/haulier/v1/report_pb.js";
import { cutText, type LogRecord } from "../src/log.js";
import { emptyReport, ReportQueue } from "../src/report.js";

const line = (message: string): LogRecord => ({ level: "info", message, fields: {} });
const ack = (fields: object) => create(ReportAckSchema, { lease: "a", ...fields });
const refused = (code: ReportErrorCode, field = "") => ack({ error: { code, field, message: "wrong" } });

function queue(creditBytes = 1_000_000) {
  const reports = new ReportQueue(() => {});
  reports.restart(creditBytes);
  const lease = reports.add(create(LeasedJobSchema, { lease: "a" }));
  const next = () => {
    const message = emptyReport();
    reports.fill(message);
    return {
      logs: message.logs.flatMap((report) =>
        report.lines.map((entry, index) => `${Number(report.fromSequence) + index + 1} ${entry.message}`),
      ),
      outcomes: message.outcomes.map(({ outcome, logSequence }) => ({
        kind: outcome.case,
        logSequence: Number(logSequence),
        value: outcome.value,
      })),
      checkpoints: message.checkpoints.map(({ sequence }) => Number(sequence)),
      progress: message.progress.map(({ progress, status }) => ({ progress, status })),
    };
  };
  return { reports, lease, next };
}

describe("a queue of reports", () => {
  test("sends an outcome only after its log lines, and names the last of them", () => {
    const { reports, lease, next } = queue(150);
    for (let index = 0; index < 3; index++) reports.log(lease, line("x".repeat(40)));
    reports.end(lease, { kind: "complete", result: Payload.nothing, enqueue: [] });
    const first = next();
    expect(first.logs.length).toBeLessThan(3);
    expect(first.outcomes).toEqual([]);
    reports.grant(1_000);
    expect(next().outcomes).toMatchObject([{ kind: "complete", logSequence: 3 }]);
  });

  test("sends again after a gap from the line that the server names", () => {
    const { reports, lease, next } = queue();
    reports.log(lease, line("one"));
    reports.log(lease, line("two"));
    reports.end(lease, { kind: "complete", result: Payload.nothing, enqueue: [] });
    expect(next().logs).toEqual(["1 one", "2 two"]);
    reports.take(ack({ logSequence: 1n, error: { code: ReportErrorCode.LOG_GAP } }));
    const again = next();
    expect(again.logs).toEqual(["2 two"]);
    expect(again.outcomes).toHaveLength(1);
  });

  test("sends everything that is not acknowledged again on a new stream, and nothing else", () => {
    const { reports, lease, next } = queue();
    reports.log(lease, line("one"));
    reports.log(lease, line("two"));
    void reports.checkpoint(lease, Payload.of(1));
    reports.progress(lease, 0.5, "half");
    next();
    reports.take(ack({ logSequence: 1n }));
    reports.restart(1_000_000);
    expect(next()).toMatchObject({ logs: ["2 two"], checkpoints: [1] });
    reports.end(lease, { kind: "release", reason: "x" });
    expect(next().outcomes).toHaveLength(1);
    reports.take(ack({ outcomeStored: true }));
    reports.restart(1_000_000);
    expect(next()).toEqual({ logs: [], outcomes: [], checkpoints: [], progress: [] });
    expect(reports.isEmpty).toBe(true);
  });

  test("a refused result becomes a failure that is not retried, and a refused failure a release", () => {
    const { reports, lease, next } = queue();
    reports.end(lease, { kind: "complete", result: Payload.of(1), enqueue: [] });
    next();
    reports.take(refused(ReportErrorCode.INVALID, "outcomes[0].complete.result"));
    expect(next().outcomes).toMatchObject([{ kind: "fail", value: { code: "UNSTORABLE_RESULT", retryable: false } }]);
    reports.take(refused(ReportErrorCode.INVALID, "outcomes[0].fail"));
    expect(next().outcomes).toMatchObject([{ kind: "release" }]);
  });

  test("refused log lines are replaced by a line that says so", () => {
    const { reports, lease, next } = queue();
    reports.log(lease, line("bad"));
    next();
    reports.take(refused(ReportErrorCode.INVALID, "logs[0].lines[0]"));
    expect(next().logs).toEqual(["1 1 log lines were refused: logs[0].lines[0]: wrong"]);
  });

  test("a lost lease ends all reports about it, and rejects its checkpoints", async () => {
    const { reports, lease, next } = queue();
    const saved = reports.checkpoint(lease, Payload.of(1));
    next();
    expect(reports.take(refused(ReportErrorCode.LEASE_LOST))).toBe("lost");
    await expect(saved).rejects.toMatchObject({ reason: "LEASE_LOST" });
    reports.log(lease, line("late"));
    reports.end(lease, { kind: "complete", result: Payload.nothing, enqueue: [] });
    expect(next()).toEqual({ logs: [], outcomes: [], checkpoints: [], progress: [] });
  });

  test("a checkpoint larger than the whole credit is sent when the credit is full", () => {
    const { reports, lease, next } = queue(100);
    void reports.checkpoint(lease, Payload.of("x".repeat(500)));
    expect(next().checkpoints).toEqual([1]);
  });

  test("only the latest progress is sent, and status stays when progress alone is told", () => {
    const { reports, lease, next } = queue();
    reports.progress(lease, 0.1, "start");
    reports.progress(lease, 0.2, undefined);
    expect(next().progress).toEqual([{ progress: 0.2, status: "start" }]);
    reports.progress(lease, 0.3, undefined);
    expect(next().progress).toEqual([]); // at most five times a second
  });

  test("lines beyond the buffer are dropped, and a line says how many", () => {
    const { reports, lease, next } = queue(1e9);
    for (let index = 0; index < 10_005; index++) reports.log(lease, line("x"));
    for (let rounds = 0; rounds < 12; rounds++) next();
    reports.take(ack({ logSequence: 10_000n }));
    reports.log(lease, line("after"));
    expect(next().logs).toEqual([
      "10001 5 log lines were dropped: more were written than could be sent",
      "10002 after",
    ]);
  });
});

test("a text is cut at a character, by its bytes", () => {
  expect(cutText("äöü", 6)).toBe("äöü");
  expect(cutText("äöüäöü", 8)).toBe("äö…");
  expect(Buffer.byteLength(cutText("€".repeat(9_000), 4_096))).toBeLessThanOrEqual(4_096);
});
