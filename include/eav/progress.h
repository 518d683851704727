// What a long run tells its caller, and how the caller stops it.
#pragma once
#include <cstdint>
#include <string_view>

#include "eav/error.h"

namespace [[gnu::visibility("default")]] eav {

// Derive from it and override what is of interest; the default is silent and never stops.
class Progress {
 public:
  virtual ~Progress() = default;
  // A phase begins: "text encoder", "transformer", "vae", "write"; "transformer_2" where a second expert takes
  // over; of two passes "transformer, pass 1 of 2", "latent upscaler", "transformer, pass 2 of 2".
  virtual void phase(std::string_view) {}
  // `done` of `total` units of the phase (denoising steps, frames) are finished.
  virtual void step(int64_t /*done*/, int64_t /*total*/) {}
  // Something that the user should know and that is no error, in one line.
  virtual void warning(std::string_view) {}
  // True once the caller wants the run to stop. Asked once a layer, from the thread that runs.
  virtual bool cancelled() const { return false; }

  // Throws Cancelled when the run should stop.
  void check() const {
    if (cancelled()) throw Cancelled();
  }
};

}  // namespace eav
