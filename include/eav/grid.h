// The grid of a video's tokens inside a diffusion transformer.
#pragma once
#include <cstdint>

namespace [[gnu::visibility("default")]] eav {

// The video tokens of a transformer, frame-major: token t*positions + s is position s of token frame t.
struct Grid {
  int64_t frames;     // T: latent frames, padding included, divided by the temporal patch size
  int64_t positions;  // S: positions in a frame
  int64_t tokens() const { return frames * positions; }
};

}  // namespace eav
