#!/usr/bin/env python3
"""Drives chat.py with one of four scenarios, and says what came of it. Standard library only.

    python load.py --url http://127.0.0.1:8081 --scenario peak --for 10

idle     asks for its health, twice a second          peak  four clients, long prompts
average  one client, short prompts                    edge  four clients, prompts beyond what was planned for

The last line of its output is JSON. Its exit code is 0, also where the server refused some (503: that is what a limit
is for); 1 where nothing at all was answered.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.parse
from collections import Counter
from typing import Any

# Clients, tokens of a prompt, tokens of an answer, batch, pause between two requests (seconds).
SCENARIOS: dict[str, tuple[int, int, int, int, float]] = {
    "idle": (1, 0, 0, 0, 0.5),
    "average": (1, 128, 16, 1, 0.1),
    "peak": (4, 384, 8, 2, 0.0),
    "edge": (4, 1280, 4, 2, 0.0),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load for chat.py")
    parser.add_argument("--url", default="http://127.0.0.1:8081")
    parser.add_argument("--scenario", choices=SCENARIOS, default="average")
    parser.add_argument("--for", dest="seconds", type=float, default=10.0, help="seconds")
    parser.add_argument("--requests", type=int, default=0, help="end after so many, of all clients together")
    parser.add_argument("--ready", type=float, default=30.0, help="wait so long for /healthz")
    for number, name in enumerate(("clients", "prompt-tokens", "tokens", "batch")):
        default = ", ".join(f"{scenario}: {of[number]}" for scenario, of in SCENARIOS.items())
        parser.add_argument(f"--{name}", type=int, help=default)
    return parser.parse_args()


class Load:
    def __init__(self, args: argparse.Namespace) -> None:
        given = (args.clients, args.prompt_tokens, args.tokens, args.batch)
        *usual, self.pause = SCENARIOS[args.scenario]
        chosen = [int(d if g is None else g) for g, d in zip(given, usual, strict=True)]
        self.clients, self.prompt, self.tokens, self.batch = chosen
        self.address = urllib.parse.urlsplit(args.url)
        self.until = time.monotonic() + args.seconds
        self.most = args.requests
        self.lock = threading.Lock()
        self.begun = 0
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.received = 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address.hostname or "127.0.0.1", self.address.port or 80, timeout=120)

    def wait_until_ready(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                connection = self.connect()
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def may_begin(self) -> bool:
        with self.lock:
            if time.monotonic() >= self.until or (self.most and self.begun >= self.most):
                return False
            self.begun += 1
            return True

    def client(self) -> None:
        while self.may_begin():
            began = time.monotonic()
            try:
                outcome, received = self.one()
            except (OSError, http.client.HTTPException, ValueError) as error:
                outcome, received = type(error).__name__, 0
            with self.lock:
                self.outcomes[outcome] += 1
                self.received += received
                self.seconds.append(time.monotonic() - began)
            # Who was refused comes again a little later, as Retry-After asks.
            time.sleep(self.pause if outcome == "ok" else max(self.pause, 0.2))

    def one(self) -> tuple[str, int]:
        connection = self.connect()
        try:
            if not self.prompt:
                connection.request("GET", "/healthz")
            else:
                asked = {"prompt_tokens": self.prompt, "tokens": self.tokens, "batch": self.batch}
                connection.request("POST", "/generate", json.dumps(asked), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                response.read()
                return str(response.status), 0
            return self.read(response)
        finally:
            connection.close()

    def read(self, response: http.client.HTTPResponse) -> tuple[str, int]:
        if not self.prompt:
            response.read()
            return "ok", 0
        last: dict[str, Any] = {}
        received = 0
        for line in response:
            if line.startswith(b"data: "):
                last = json.loads(line[6:])
                received += len(last.get("tokens", ()))
        return ("ok" if "done" in last else "cut off"), received

    def run(self) -> int:
        threads = [threading.Thread(target=self.client, daemon=True) for _ in range(self.clients)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds.sort()
        middle = self.seconds[len(self.seconds) // 2] if self.seconds else 0.0
        told = {
            "requests": sum(self.outcomes.values()),
            "outcomes": dict(sorted(self.outcomes.items())),
            "tokens": self.received,
            "seconds": round(time.monotonic() - began, 2),
            "median_ms": round(1000 * middle),
            "slowest_ms": round(1000 * self.seconds[-1]) if self.seconds else 0,
        }
        print(json.dumps(told), flush=True)
        return 0 if self.outcomes["ok"] else 1


def main() -> int:
    args = arguments()
    load = Load(args)
    if not load.wait_until_ready(args.ready):
        print(f"{args.url}/healthz does not answer with 200 after {args.ready:g} s", file=sys.stderr)
        return 1
    load.until = time.monotonic() + args.seconds
    return load.run()


if __name__ == "__main__":
    sys.exit(main())
