// The file in which `eav generate` shows a video while it is denoised.
#pragma once
#include <filesystem>
#include <vector>

#include "eav/preview.h"
#include "outputs.h"

namespace eav {

// Throws where the file is no .png or .gif, could not be written, or is one of the others.
void check_preview(const std::filesystem::path& file, const std::vector<OutputFiles>& others, bool overwrite);

// Previews that replace this file. Where it cannot be written, that is said once and the run goes on.
Preview preview_to(const std::filesystem::path& file, double every, TerminalProgress& progress);

}  // namespace eav
