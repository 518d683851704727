// Progress on stderr: a bar on one line when a person watches, a few plain lines when not.
#pragma once
#include <chrono>
#include <string>

#include "eav/progress.h"
#include "interrupt.h"

namespace eav {

// "20 ms", "1.4 s", "3 min 20 s", "2 h 5 min"
std::string human_seconds(double seconds);
// The text with options as this program writes them: `vae_tiling` becomes --vae-tiling.
std::string with_flags(const std::string& text);
// An error or a warning on stderr, as one line: "eav: …".
void print_error(const std::string& message);

class TerminalProgress : public Progress {
 public:
  explicit TerminalProgress(Interrupt& interrupt);
  ~TerminalProgress() override { clear(); }

  void phase(std::string_view name) override;
  void step(int64_t done, int64_t total) override;
  void warning(std::string_view message) override;
  bool cancelled() const override { return interrupt_.requested(); }

  // Stands before the phases that follow: "2/8 ".
  void set_label(std::string label) { label_ = std::move(label); }
  // A line of its own on stderr.
  void line(const std::string& text);
  // Takes the bar off the screen, for others to write.
  void clear() noexcept;

 protected:
  bool watched() const { return watched_; }
  const std::string& phase_name() const { return phase_; }
  // "transformer 12/50, 1.3 s each, 49 s left", at the end "transformer 50/50 in 1 min 5 s"
  virtual std::string state(int64_t done, int64_t total) const;

 private:
  void draw(int64_t done, int64_t total);

  Interrupt& interrupt_;
  bool watched_;  // stderr is a terminal
  bool drawn_ = false;
  std::string label_, phase_;
  std::chrono::steady_clock::time_point start_;  // of the phase
  int64_t before_ = -1;                          // units that an earlier run has done; -1: not yet known
};

}  // namespace eav
