// The video tokens of a transformer.
#pragma once
#include <cstdint>

namespace eav {

// Frame-major: token t*positions + s is position s of token frame t.
struct Grid {
  int64_t frames;     // T: latent frames, padding included, divided by the temporal patch size
  int64_t positions;  // S: positions in a frame
};

}  // namespace eav
