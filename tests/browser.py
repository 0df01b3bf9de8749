"""A headless Chromium that a test can look through, spoken to over two pipes.

with Browser() as browser:
    browser.open(path)
    assert browser.ask("document.title") == "Map of the latent space"
    browser.mouse("mouseMoved", 300, 200)
    browser.screenshot(tmp_path / "page.png")

Needs nothing but the program itself (`--remote-debugging-pipe`: messages of the DevTools protocol,
each ended by a zero byte).
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page of one browser with a profile of its own."""

    def __init__(self, width: int = 1200, height: int = 800, touch: bool = False) -> None:
        self.profile = tempfile.mkdtemp(prefix="chromium_")
        to_read, self.write_end = os.pipe()
        self.read_end, to_write = os.pipe()
        command = [
            "bash", "-c", 'exec "$@" 3<&"$READ" 4>&"$WRITE"', "browser", str(CHROMIUM), *_OPTIONS,
            f"--user-data-dir={self.profile}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "READ": str(to_read), "WRITE": str(to_write)},
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self.rest, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = next(
            t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"
        )
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.read_end)
        os.close(self.write_end)
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; what else comes meanwhile goes to `events`."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        whole = json.dumps(message).encode() + b"\0"
        while whole:
            whole = whole[os.write(self.write_end, whole) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.read_end, 2**16)
            assert part, "the browser has ended"
            self.rest += part
        whole, _, self.rest = self.rest.partition(b"\0")
        return json.loads(whole)

    def open(self, path: Path, then: str = "document.readyState === 'complete'") -> None:
        """Go to a file, and wait until `then` holds in it."""
        self.send("Page.navigate", url=Path(path).resolve().as_uri())
        self.wait(f"location.protocol === 'file:' && {then}")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Until an expression of the page is true."""
        end = time.monotonic() + seconds
        while not self.ask(condition):
            assert time.monotonic() < end, f"after {seconds:g} s still not: {condition}"
            time.sleep(0.02)

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; an error in it is an AssertionError."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def tap(self, x: float, y: float) -> None:
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, name: str) -> None:
        """Press a key by its name (ArrowLeft, Enter, +)."""
        text = {"text": name} if len(name) == 1 else {"text": "\r"} if name == "Enter" else {}
        code = {"windowsVirtualKeyCode": 13} if name == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=name, **text, **code)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=name, **code)

    def type(self, words: str) -> None:
        self.send("Input.insertText", text=words)

    def screenshot(self, path: Path) -> None:
        found = self.send("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Errors and refused requests that the page has caused, and every request of it that is
        not for the file itself or for data in it."""
        self.ask("0")
        found = []
        for event in self.events:
            of = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(of["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and of["entry"]["level"] == "error":
                found.append(of["entry"]["text"])
            elif event.get("method") == "Network.requestWillBeSent":
                url = of["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    found.append(f"asked for {url}")
        return found
