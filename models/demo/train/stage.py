"""One stage of the training: a budget of processor time, a checkpoint to go on from, and progress on the screen."""
import os, signal, sys, time
import torch

stop = False


def ask_to_stop(*_):
    global stop
    stop = True


signal.signal(signal.SIGINT, ask_to_stop)
signal.signal(signal.SIGTERM, ask_to_stop)


def save(path, value):
    """Writes a checkpoint whole or not at all."""
    torch.save(value, path + ".new")
    os.replace(path + ".new", path)


class Stage:
    """`for step in stage:` runs until the stage's minutes are used up; `stage.done` goes from 0 to 1 meanwhile.

    Minutes are the process's processor time divided by the number of threads: about wall time when nothing else runs,
    and a pause or a busy machine doesn't shorten the training. While others keep the machine busy it runs on one thread,
    since threads that wait for each other are a waste there. On Ctrl-C or SIGTERM the state is saved and the program ends;
    the next start goes on from there.
    """

    def __init__(self, work, name, minutes, **state):
        self.path, self.name, self.seconds, self.state = os.path.join(work, name + ".pt"), name, minutes * 60, state
        self.used, self.step, self.mean, self.done, self.notes = 0.0, 0, None, 0.0, {}
        self.threads = torch.get_num_threads()
        if os.path.exists(self.path):
            saved = torch.load(self.path)
            self.used, self.step, self.mean, self.notes = saved["used"], saved["step"], saved["mean"], saved["notes"]
            for key, part in state.items():
                part.load_state_dict(saved[key])
            print(f"{name}: going on from step {self.step}, {self.used / 60:.1f} of {minutes:.1f} minutes used", flush=True)

    def write(self):
        save(self.path, {"used": self.used, "step": self.step, "mean": self.mean, "notes": self.notes, **{k: v.state_dict() for k, v in self.state.items()}})

    def show(self, **values):
        """Keeps running means of the step's figures."""
        self.mean = values if self.mean is None else {k: 0.98 * self.mean[k] + 0.02 * v for k, v in values.items()}

    def __iter__(self):
        last, written, printed = time.process_time(), self.used, self.used - 20
        while self.used < self.seconds:
            self.done = self.used / self.seconds
            yield self.step
            self.step += 1
            now = time.process_time()
            self.used, last = self.used + (now - last) / self.threads, now
            if self.used > printed + 20:
                printed = self.used
                torch.set_num_threads(1 if os.getloadavg()[0] > self.threads + 1.5 else self.threads)
                figures = ", ".join(f"{k} {v:.4f}" for k, v in self.mean.items())
                print(f"{self.name}: step {self.step}, {figures}; {(self.seconds - self.used) / 60:.1f} minutes left", flush=True)
            if stop or self.used > written + 120:
                written = self.used
                self.write()
            if stop:
                print(f"{self.name}: stopped; the same command goes on from here", flush=True)
                sys.exit(130)
        torch.set_num_threads(self.threads)
        self.done = 1.0
        self.write()
