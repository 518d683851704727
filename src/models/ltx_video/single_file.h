// LTX-Video in files: as it was first released, transformer and VAE in one, or each in a file of its own, under the
// names of the original program.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "eav/generator.h"
#include "models/ltx_video/layout.h"
#include "models/ltx_video/original_names.h"
#include "text/encoder_files.h"
#include "weights/file_table.h"

namespace eav::ltx_video {

// Each nothing where the file has none. Throws eav::Error where a tensor is missing.
std::optional<FilePart> transformer_in(const FileTable& file);
std::optional<FilePart> vae_in(const FileTable& file);

std::optional<FilePart> latent_upsampler_in(const FileTable& file);

inline constexpr const char* kLatentUpsamplerExample = "ltxv-spatial-upscaler-0.9.8.safetensors";

// The latent upsampler in a file or folder, also of the pipeline that diffusers saves it with; nothing for an empty
// path. Throws eav::Error where there is none.
std::optional<PartSource> find_latent_upsampler(const std::filesystem::path& given);

// Opens `paths.model`, whose table is `file`, with the parts that `paths` names. The release follows from keys and
// shapes, the widths from shapes, and the rest from the file's metadata where it has it, else from what was published
// for the release. Throws eav::Error where a part is missing or there twice.
Layout open_single_file(const ModelPaths& paths, const FileTable& file);

// What a file with the transformer needs beside it, whether it has that or not.
std::vector<Need> needs_of(const FileTable& file);

}  // namespace eav::ltx_video
