// Ctrl-C and SIGTERM as a flag that work can ask for.
#pragma once
#include <atomic>
#include <csignal>
#include <thread>

namespace eav {

// While it lives, the first SIGINT, SIGTERM or SIGHUP sets a flag, and a second one ends the process at once. A thread
// of its own waits for the signals, so that no code runs inside a handler. Threads inherit which signals they leave to
// others: make it before the first of them starts.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const { return signal_ != 0; }
  // What the process should exit with once it was interrupted: 130 after Ctrl-C, as shells have it.
  int exit_code() const { return 128 + signal_; }

  // Files are being written: a second signal then waits, at most a second, for the first to have them removed.
  void set_writing(bool writing) { writing_ = writing; }

 private:
  void watch();

  sigset_t signals_;
  std::atomic<int> signal_ = 0;
  std::atomic<bool> writing_ = false, finished_ = false;
  std::thread watcher_;
};

}  // namespace eav
