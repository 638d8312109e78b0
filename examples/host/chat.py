#!/usr/bin/env python3
"""A real MLX model server with random weights: a small transformer with a KV cache, behind HTTP.

What it holds grows with the length of the prompt (attention scores of the prefill, quadratic; KV cache, linear) and
with the batch, so that the scenarios of load.py have known, different footprints. What it says is noise.

    python chat.py --make-model chat.safetensors      # write random weights, and end
    python chat.py --model chat.safetensors --port 8081
    curl -N localhost:8081/generate -d '{"prompt_tokens": 64, "tokens": 8}'

POST /generate  {"prompt_tokens": 64 or [1, 2, 3], "tokens": 8, "batch": 1}: server-sent events, a token each
GET  /healthz   200 once the weights are there, with MLX's own counters.
SIGUSR1         writes a checkpoint (--checkpoint FILE): what it has served, and what it is at.
SIGTERM         takes no more requests, ends those that run, and ends with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_BODY = 8 << 20
MOST_TOKENS = 16_384


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A small MLX model server with random weights")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0: any free one")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model", metavar="FILE", help="weights, as --make-model wrote them; without it they are random"
    )
    parser.add_argument("--make-model", metavar="FILE", help="write random weights, and end")
    parser.add_argument("--checkpoint", metavar="FILE", default="chat-checkpoint.json", help="what SIGUSR1 writes")
    parser.add_argument("--slots", type=int, default=16, help="requests at a time; further ones are told 503")
    return parser.parse_args()


class Model:
    """A decoder-only transformer. Its sizes are those of the file it was read from."""

    def __init__(self, args: argparse.Namespace) -> None:
        import mlx.core as mx

        self.mx = mx
        self.weights: dict[str, Any]
        mx.random.seed(args.seed)
        if args.model:
            loaded: Any = mx.load(args.model, return_metadata=True)
            self.weights, sizes = loaded
            self.dim, self.layers, self.heads, self.vocab = (int(sizes[n]) for n in ("dim", "layers", "heads", "vocab"))
        else:
            self.dim, self.layers, self.heads, self.vocab = args.dim, args.layers, args.heads, args.vocab
            self.weights = self._random()
        mx.eval(self.weights)

    def _random(self) -> dict[str, Any]:
        d, normal = self.dim, self.mx.random.normal
        weights = {"embedding": normal((self.vocab, d), scale=0.02)}
        for i in range(self.layers):
            for name in ("q", "k", "v", "o"):
                weights[f"{i}.{name}"] = normal((d, d), scale=d**-0.5)
            weights[f"{i}.up"] = normal((d, 4 * d), scale=d**-0.5)
            weights[f"{i}.down"] = normal((4 * d, d), scale=(4 * d) ** -0.5)
        return weights

    def save(self, path: str) -> None:
        sizes = {"dim": self.dim, "layers": self.layers, "heads": self.heads, "vocab": self.vocab}
        self.mx.save_safetensors(path, self.weights, {name: str(size) for name, size in sizes.items()})

    def step(self, tokens: Any, cache: list[tuple[Any, Any]] | None) -> tuple[Any, list[tuple[Any, Any]]]:
        """Tokens (batch x length) behind what the cache holds: the logits of the last one, and the longer cache."""
        mx, w, heads = self.mx, self.weights, self.heads
        batch, length = tokens.shape
        past = cache[0][0].shape[2] if cache else 0
        x = w["embedding"][tokens]
        # Explicit scores: batch x heads x length x (past + length) numbers, which is what makes a long prompt dear.
        rows, columns = mx.arange(past, past + length)[:, None], mx.arange(past + length)[None]
        mask = mx.where(columns > rows, -1e9, 0.0)
        grown = []
        for i in range(self.layers):

            def split(t: Any) -> Any:
                return t.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

            y = mx.fast.rms_norm(x, None, 1e-5)
            q, k, v = (split(y @ w[f"{i}.{name}"]) for name in ("q", "k", "v"))
            if cache:
                k, v = (mx.concatenate(pair, axis=2) for pair in zip(cache[i], (k, v), strict=True))
            scores = mx.softmax((q @ k.transpose(0, 1, 3, 2)) * (self.dim // heads) ** -0.5 + mask, axis=-1)
            x = x + (scores @ v).transpose(0, 2, 1, 3).reshape(batch, length, self.dim) @ w[f"{i}.o"]
            up = mx.fast.rms_norm(x, None, 1e-5) @ w[f"{i}.up"]
            x = x + (up * mx.sigmoid(up)) @ w[f"{i}.down"]
            grown.append((k, v))
        logits = mx.fast.rms_norm(x[:, -1], None, 1e-5) @ w["embedding"].T
        mx.eval(logits, grown)
        return logits, grown

    def generate(self, prompt: list[int] | int, tokens: int, batch: int) -> Iterator[list[int]]:
        """Yields each next token of the batch."""
        mx = self.mx
        row = mx.random.randint(0, self.vocab, (prompt,)) if isinstance(prompt, int) else mx.array(prompt) % self.vocab
        logits, cache = self.step(mx.broadcast_to(row[None], (batch, row.shape[0])), None)
        for _ in range(tokens):
            chosen = mx.argmax(logits, axis=-1)
            yield chosen.tolist()
            logits, cache = self.step(chosen[:, None], cache)

    def counters(self) -> dict[str, int]:
        mx = self.mx
        return {
            "active": mx.get_active_memory(),
            "cache": mx.get_cache_memory(),
            "peak": mx.get_peak_memory(),
        }


class Request:
    """One request: what is asked, and a queue of what was answered. The last of it is None."""

    def __init__(self, prompt: list[int] | int, tokens: int, batch: int) -> None:
        self.prompt, self.tokens, self.batch = prompt, tokens, batch
        self.answers: queue.Queue[list[int] | str | None] = queue.Queue(maxsize=MOST_TOKENS + 1)
        self.gone = False


class Engine(threading.Thread):
    """The one thread that computes: a token of each running request in turn, so that all hold their caches at once."""

    def __init__(self, model: Model, slots: int) -> None:
        super().__init__(daemon=True, name="engine")
        self.model, self.slots = model, slots
        self.waiting: queue.Queue[Request] = queue.Queue(maxsize=slots)
        self.running: list[tuple[Request, Iterator[list[int]]]] = []
        self.served, self.tokens, self.stopping = 0, 0, False

    def submit(self, request: Request) -> bool:
        if self.stopping or len(self.running) + self.waiting.qsize() >= self.slots:
            return False
        try:
            self.waiting.put_nowait(request)
        except queue.Full:
            return False
        return True

    def run(self) -> None:
        while True:
            try:
                request = self.waiting.get(block=not self.running, timeout=None if self.running else 0.05)
                self.running.append((request, self.model.generate(request.prompt, request.tokens, request.batch)))
            except queue.Empty:
                if not self.running and self.stopping:
                    return
            self.running = [(request, steps) for request, steps in self.running if self._advance(request, steps)]

    def _advance(self, request: Request, steps: Iterator[list[int]]) -> bool:
        """One token; whether there is more to come."""
        try:
            answer = None if request.gone else next(steps, None)
        except Exception as error:  # noqa: BLE001 one request's failure is told to its client, not to all
            request.answers.put_nowait(f"{type(error).__name__}: {error}")
            return False
        request.answers.put_nowait(answer)
        if answer is None:
            self.served += 1
            return False
        self.tokens += len(answer)
        return True

    def stop(self) -> None:
        self.stopping = True

    def checkpoint(self, path: str) -> None:
        at = [{"prompt": r.prompt if isinstance(r.prompt, int) else len(r.prompt)} for r, _ in list(self.running)]
        state = {"served": self.served, "tokens": self.tokens, "running": at, "at": time.time()}
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.part", path)


def handler(engine: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, format: str, *args: Any) -> None:  # quiet: the load's figures are in load.py
            pass

        def answer(self, status: int, body: dict[str, Any], **headers: str) -> None:
            data = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path != "/healthz":
                self.answer(404, {"error": f"{self.path}: not here; there are /healthz and POST /generate"})
            elif engine.stopping:
                self.answer(503, {"status": "stopping"})
            else:
                mlx = engine.model.counters()
                self.answer(200, {"status": "ok", "pid": os.getpid(), "served": engine.served, "mlx": mlx})

        def do_POST(self) -> None:
            if self.path != "/generate":
                self.close_connection = True  # its body was not read
                return self.answer(404, {"error": f"{self.path}: not here; there are /healthz and POST /generate"})
            try:
                request = self.read()
            except ValueError as error:
                self.close_connection = True
                return self.answer(400, {"error": str(error)})
            if not engine.submit(request):
                return self.answer(
                    503, {"error": "stopping" if engine.stopping else "all slots are taken"}, Retry_After="1"
                )
            try:
                self.stream(request)
            except OSError:
                self.close_connection = True  # the client went away
            finally:
                request.gone = True

        def read(self) -> Request:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= MOST_BODY:
                raise ValueError(f"the body must have 1 to {MOST_BODY} bytes")
            asked = json.loads(self.rfile.read(length))
            if not isinstance(asked, dict):
                raise ValueError("the body must be an object")
            prompt, tokens, batch = (asked.get(n, d) for n, d in (("prompt_tokens", 16), ("tokens", 16), ("batch", 1)))
            size = prompt if isinstance(prompt, int) else len(prompt) if isinstance(prompt, list) else 0
            if isinstance(prompt, list) and not all(type(t) is int and 0 <= t < 2**31 for t in prompt):
                raise ValueError("prompt_tokens must be a number of tokens, or a list of them")
            for name, value, most in (
                ("prompt_tokens", size, MOST_TOKENS),
                ("tokens", tokens, MOST_TOKENS),
                ("batch", batch, 64),
            ):
                if type(value) is not int or not 0 < value <= most:
                    raise ValueError(f"{name} must be 1 to {most}")
            return Request(prompt, tokens, batch)

        def stream(self, request: Request) -> None:
            answer = request.answers.get()
            if isinstance(answer, str):
                return self.answer(500, {"error": answer})
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            count = 0
            while isinstance(answer, list):
                self.event({"i": count, "tokens": answer})
                count += 1
                answer = request.answers.get()
            self.event({"error": answer} if isinstance(answer, str) else {"done": count})
            self.wfile.write(b"0\r\n\r\n")

        def event(self, data: dict[str, Any]) -> None:
            text = b"data: " + json.dumps(data).encode() + b"\n\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # clients that go away are no news
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main() -> int:
    args = arguments()
    model = Model(args)
    if args.make_model:
        model.save(args.make_model)
        print(f"{args.make_model}: {os.path.getsize(args.make_model)} bytes", flush=True)
        return 0
    engine = Engine(model, args.slots)
    server = Server((args.host, args.port), handler(engine))
    wake: queue.SimpleQueue[int] = queue.SimpleQueue()
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(one, lambda n, _: wake.put(n))
    engine.start()
    threading.Thread(target=server.serve_forever, daemon=True, name="http").start()
    print(f"listening on http://{args.host}:{server.server_address[1]}", flush=True)
    while True:
        try:
            # With a time, so that a signal's handler runs between two waits.
            number = wake.get(timeout=0.2)
        except queue.Empty:
            continue
        if number == signal.SIGUSR1:
            engine.checkpoint(args.checkpoint)
            print(f"checkpoint: {args.checkpoint}", flush=True)
            continue
        engine.stop()
        engine.join()
        server.shutdown()
        print(f"stopped after {engine.served} requests", flush=True)
        return 0


if __name__ == "__main__":
    sys.exit(main())
