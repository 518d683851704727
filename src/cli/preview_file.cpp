#include "preview_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "eav/files.h"
#include "eav/video.h"
#include "files.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSide = 256;          // pixels, at least, of the longer side
constexpr double kFramesPerSecond = 4;  // of a GIF, which has a frame for each latent one

// Each pixel as a square of pixels.
at::Tensor enlarged(const at::Tensor& pictures) {
  const auto longer = std::max(pictures.size(1), pictures.size(2));
  const auto times = (kSide + longer - 1) / longer;
  return pictures.repeat_interleave(times, 1).repeat_interleave(times, 2);
}

}  // namespace

void check_preview(const fs::path& file, const std::vector<OutputFiles>& others, bool overwrite) {
  if (file.extension() != ".png" && file.extension() != ".gif")
    throw Error(fmt::format("--preview cannot be '{}': end it in .png or .gif", file.string()));
  const auto place = target_of(file);
  for (const auto& other : others)
    for (const auto& path : {other.video, other.record, other.latents, other.trace})
      if (!path.empty() && target_of(path) == place)
        throw Error(fmt::format("--preview and another file would both be '{}'", file.string()));
  check_file(file, overwrite);
}

Preview preview_to(const fs::path& file, double every, TerminalProgress& progress) {
  const auto show = [file, &progress, warned = false](const at::Tensor& pictures) mutable {
    try {
      const auto shown = enlarged(pictures);
      if (file.extension() == ".png")
        write_picture(file, shown[shown.size(0) / 2]);
      else
        write_video(file, shown, kFramesPerSecond, "");
    } catch (const Error& error) {
      if (!warned) progress.warning(fmt::format("{}: there is no preview", error.what()));
      warned = true;
    }
  };
  return {.show = show, .every = every, .cache = user_cache_folder("preview")};
}

}  // namespace eav
