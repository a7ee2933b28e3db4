"""A headless Chromium, told what to do through the DevTools protocol over a pair of pipes."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

WAIT = 60.0  # seconds until an answer is given up


def find() -> str | None:
    """The program, if this machine has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One window of a browser, and what it reported."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + WAIT
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._reading], [], [], until - time.monotonic())
            part = os.read(self._reading, 1 << 20) if ready else b""
            assert part, "the browser says nothing more"
            self._received += part
        first, _, self._received = self._received.partition(b"\0")
        return json.loads(first)

    def open(self, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show a file, and wait until it is loaded."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # what moves is not yet there
        ]
        self("Emulation.setEmulatedMedia", features=features)
        self("Emulation.setDeviceMetricsOverride", width=width, height=height,
             deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.events.clear()
        self("Page.navigate", url=file.resolve().as_uri())
        until = time.monotonic() + WAIT
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            assert time.monotonic() < until
            self("Runtime.evaluate", expression="0")

    def run(self, expression: str) -> Any:
        """What JavaScript gives in the page."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, and let it go."""
        codes = {"Tab": 9, "Enter": 13}
        known = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self("Input.dispatchKeyEvent", type="keyDown", **known, **text)
        self("Input.dispatchKeyEvent", type="keyUp", **known)

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return b64decode(self("Page.captureScreenshot", format="png")["data"])

    @property
    def requested(self) -> list[str]:
        """What the page asked for."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings of scripts, of the console, and of what the page is not allowed."""
        methods = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [one["params"] for one in self.events if one.get("method") in methods]


@contextmanager
def started(program: str, folder: Path) -> Iterator[Browser]:
    """Start the program with a profile of its own, and end it in the end."""
    from_us, writing = os.pipe()
    reading, to_us = os.pipe()
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
        "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
        f"--user-data-dir={folder}",
    ]  # fmt: skip
    # The protocol is spoken on the descriptors 3 and 4.
    shell = f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}'
    process = subprocess.Popen(
        ["bash", "-c", shell, program, *options],
        pass_fds=(from_us, to_us),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(reading, writing)
    finally:
        os.close(writing)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(reading)
