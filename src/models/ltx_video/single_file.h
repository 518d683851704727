// LTX-Video as it was first released: transformer and VAE in one file, under the names of the original program.
#pragma once
#include "eav/generator.h"
#include "models/ltx_video/layout.h"

namespace eav::ltx_video {

// Releases that differ in their keys. What came between is like the one before it.
enum class Release {
  v090,
  v091,  // the VAE's decoder is told a timestep
  v095,  // new blocks in the VAE's encoder
  v097,  // 13B: 48 transformer blocks
};

// Opens `paths.model`, with the text encoder in the folder `paths.text_encoder`. The release follows from keys and
// shapes, the widths from shapes, and the rest from the file's metadata where it has it, else from what was published
// for the release. Throws eav::Error when the file is none of these, lacks a part or holds weights in float8.
Layout open_single_file(const ModelPaths& paths);

}  // namespace eav::ltx_video
