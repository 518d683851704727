#include "interrupt.h"

#include <unistd.h>

#include <chrono>

namespace eav {
namespace {

constexpr int kWakeUp = SIGUSR1;  // ends the waiting thread

}  // namespace

Interrupt::Interrupt() {
  sigemptyset(&signals_);
  sigaddset(&signals_, kWakeUp);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&signals_, signal);  // what `nohup` and the like ignore stays ignored
  }
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  watcher_ = std::thread(&Interrupt::watch, this);
}

Interrupt::~Interrupt() {
  finished_ = true;
  pthread_kill(watcher_.native_handle(), kWakeUp);
  watcher_.join();
  pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
}

void Interrupt::watch() {
  for (int signal = 0; sigwait(&signals_, &signal) == 0 && !finished_;) {
    if (signal == kWakeUp) continue;
    if (int none = 0; signal_.compare_exchange_strong(none, signal)) continue;
    for (int i = 0; i < 100 && writing_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    _exit(exit_code());
  }
}

}  // namespace eav
