"""Runs programs that may hang, and watches what they take of a GPU."""
import contextlib, ctypes, os, queue, signal, subprocess, threading, time

SETTINGS = {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
            "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def say(text=""):
    print(text, flush=True)


def run(command, limit, shown="    "):
    """What a program said, and its exit code; None if it had to be ended. Its lines are shown as they come."""
    program = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
                               start_new_session=True, env=os.environ | SETTINGS)
    lines, said, end = queue.Queue(), [], time.monotonic() + limit
    # A child of the program's may hold its output open for ever, so the end of lines is not waited for.
    threading.Thread(target=lambda: [lines.put(line) for line in program.stdout], daemon=True).start()
    try:
        while time.monotonic() < end:
            ended = program.poll() is not None
            try:
                said.append(lines.get(timeout=0.2))
                if shown is not None:
                    say(shown + said[-1].rstrip()[:400])
            except queue.Empty:
                if ended:
                    return "".join(said), program.returncode
        return "".join(said), None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def why_ended(said, code):
    """In a line: what an error says, else what was said last."""
    if code is None:
        return "out of time"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return f"ended with {code}: {(errors or lines or ['it said nothing'])[-1]}"[:240]


class Memory(threading.Thread):
    """The most memory of the first GPU that was taken while it watches, beside what was taken before."""

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    def __init__(self):
        super().__init__(daemon=True)
        self.first, self.most, self.ended = None, 0, threading.Event()
        self.nvml, self.device = None, ctypes.c_void_p()
        with contextlib.suppress(OSError):
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
            if nvml.nvmlInit_v2() == 0 and nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.device)) == 0:
                self.nvml = nvml

    def used(self):
        info = self.Info()
        return info.used if self.nvml.nvmlDeviceGetMemoryInfo(self.device, ctypes.byref(info)) == 0 else None

    def run(self):
        self.first = self.used() if self.nvml else None
        while self.first is not None and not self.ended.wait(0.05):
            self.most = max(self.most, self.used() or 0)

    def gb(self):
        """None where there is no library to ask."""
        self.ended.set()
        self.join(timeout=5)
        return None if self.first is None else max(0, self.most - self.first) / 1e9
