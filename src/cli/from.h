// Where --from takes a record.
#pragma once
#include <filesystem>

#include "eav/record.h"
#include "request_options.h"

namespace eav {

// The record in a file. A video names its model, conditions and latents without their folders: what does not lie beside
// it has to be asked for, and conditions then keep the place and strength that they had. Throws eav::Error, one line
// that names all that is missing and the options for it.
Record read_from(const std::filesystem::path& file, AskedOptions& asked);

}  // namespace eav
