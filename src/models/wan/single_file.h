// Wan in files: a transformer, an autoencoder and encoders, each in one of its own or together, under the names of the
// original program, with ComfyUI's prefixes, or under diffusers'.
#pragma once
#include <optional>

#include "eav/generator.h"
#include "models/wan/layout.h"
#include "text/encoder_files.h"
#include "weights/file_table.h"

namespace eav::wan {

// Each nothing where the file has none. Sizes follow from shapes. Throws eav::Error where a tensor is missing or the
// model is one of Wan's that is not supported.
std::optional<FilePart> transformer_in(const FileTable& file);
std::optional<FilePart> vae_in(const FileTable& file);

// Opens `paths.model`, whose table is `file`, with the parts that `paths` names. What is not set by keys and shapes is
// as published. Throws eav::Error where a part is missing, there twice, or another model's.
Layout open_single_file(const ModelPaths& paths, const FileTable& file);

// What a file with the transformer needs beside it, whether it has that or not.
std::vector<Need> needs_of(const FileTable& file);

}  // namespace eav::wan
