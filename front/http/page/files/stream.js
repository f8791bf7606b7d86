// Server-Sent Events from a fetched response, as OpenAI's API sends them.

/** Yields the data of each event, up to the end of the stream; comments are left out. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const parts = (rest + (value ?? "")).split(/\r?\n\r?\n/);
      rest = done ? "" : parts.pop();
      for (const part of parts) {
        const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).replace(/^ /, "")).join("\n");
        if (data) yield data;
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** What a failure says, whatever its shape. */
export function reasonOf(told, status) {
  const error = told?.error ?? told;
  const words = typeof error === "string" ? error : error?.message;
  return typeof words === "string" && words ? words : `The worker answered with status ${status}.`;
}
