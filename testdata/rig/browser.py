"""A headless Chromium, driven over its DevTools protocol on a pair of pipes (--remote-debugging-pipe): messages are JSON, each ended by
a zero byte.  What is used of the protocol: https://chromedevtools.github.io/devtools-protocol/, domains Target, Page, Runtime, Network,
Log, Input and Emulation."""
import base64
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1", "--remote-debugging-pipe")
TIMEOUT = 60
# The protocol wants descriptors 3 and 4, which this process may need itself.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Refused(Exception):
    """What the browser says to a command that it cannot do."""


class Browser:
    """One browser with a page; a context manager."""

    def __init__(self, program="chromium"):
        self.profile = tempfile.TemporaryDirectory(prefix="check-map-", ignore_cleanup_errors=True)
        theirs_in, self.out = os.pipe()
        self.inp, theirs_out = os.pipe()
        command = [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), program, *FLAGS, "--user-data-dir=" + self.profile.name,
                   "about:blank"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self.number, self.buffer, self.session, self.events = 0, b"", None, []
        self.ready = selectors.DefaultSelector()
        self.ready.register(self.inp, selectors.EVENT_READ)
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(20)
        except (EOFError, OSError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        finally:
            os.close(self.inp)
            os.close(self.out)
            self.profile.cleanup()

    def message(self, end):
        """The next message; EOFError when the browser is gone, TimeoutError at `end`."""
        while b"\0" not in self.buffer:
            if not self.ready.select(max(0, end - time.monotonic())):
                raise TimeoutError("the browser has said nothing for %d s" % TIMEOUT)
            part = os.read(self.inp, 1 << 16)
            if not part:
                raise EOFError("the browser has ended")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        """The result of a command; events that come on the way are kept."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if self.session:
            command["sessionId"] = self.session
        os.write(self.out, json.dumps(command).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            message = self.message(end)
            if message.get("id") == self.number:
                if "error" in message:
                    raise Refused("%s: %s" % (method, message["error"]["message"]))
                return message["result"]
            if "method" in message:
                self.events.append((message["method"], message["params"]))

    def wait(self, method):
        """The first event of this name since `open`."""
        end = time.monotonic() + TIMEOUT
        while True:
            for name, params in self.events:
                if name == method:
                    return params
            message = self.message(end)
            if "method" in message:
                self.events.append((message["method"], message["params"]))

    def open(self, url):
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def window(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name):
        """light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def script(self, text):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Refused(str(result["exceptionDetails"].get("exception", {}).get("description", "an exception")))
        return result["result"].get("value")

    def point(self, x, y):
        """Move the pointer there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path, whole=False):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def complaints(self):
        """What the console had to say since `open`."""
        out = ["exception: " + p["exceptionDetails"]["text"] for name, p in self.events if name == "Runtime.exceptionThrown"]
        out += ["console.%s" % p["type"] for name, p in self.events if name == "Runtime.consoleAPICalled"]
        return out + ["%s: %s" % (p["entry"]["level"], p["entry"]["text"]) for name, p in self.events if name == "Log.entryAdded"]

    def requests(self):
        """Addresses that were asked for since `open`."""
        return [p["request"]["url"] for name, p in self.events if name == "Network.requestWillBeSent"]
