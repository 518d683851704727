#include "pipeline/preview.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>

#include "eav/fingerprint.h"
#include "eav/safetensors.h"

namespace eav {
namespace {

constexpr int64_t kSide = 8;           // latent pixels of the videos that are decoded
constexpr int64_t kKnots = 3;          // random values along a side, between which latents are smooth
constexpr int64_t kTimesUnknowns = 4;  // random values for each unknown
constexpr int64_t kLeast = 8;          // videos
constexpr double kRidge = 1e-6;        // of the latents' variance: for channels that do not vary
constexpr double kMostOfTheTime = 0.01;

// Asks another whether to stop, and tells it nothing.
class Quiet : public Progress {
 public:
  explicit Quiet(const Progress& other) : other_(other) {}
  bool cancelled() const override { return other_.cancelled(); }

 private:
  const Progress& other_;
};

LatentColors fit_to_decoder(const VideoJob& job, const Progress& progress) {
  auto shape = job.sample_shape();
  for (const size_t side : {3, 4}) shape[side] = std::min(shape[side], kSide);
  const auto channels = shape[1], frames = shape[2];
  const auto values = frames * kKnots * kKnots;
  const auto videos = std::max(kLeast, (kTimesUnknowns * (channels + 1) + values - 1) / values);
  auto generator = at::detail::createCPUGenerator(0);
  Quiet quiet(progress);
  std::vector<Tensor> latents, pictures;
  for (int64_t i = 0; i < videos; ++i) {
    quiet.check();
    const auto knots = at::randn({1, channels, frames, kKnots, kKnots}, generator, at::kFloat);
    const auto smooth = at::upsample_trilinear3d(knots, {frames, shape[3], shape[4]}, /*align_corners=*/true);
    const auto video = job.decode_sample(smooth, quiet).to(at::kCPU, at::kFloat);
    latents.push_back(smooth[0].permute({1, 2, 3, 0}).reshape({-1, channels}));
    pictures.push_back(shrink((video / 2 + 0.5).clamp(0, 1), shape).reshape({-1, 3}));
  }
  return LatentColors::fit(at::cat(latents), at::cat(pictures));
}

}  // namespace

LatentColors LatentColors::fit(const Tensor& latents, const Tensor& pictures) {
  const auto x = at::cat({latents, at::ones({latents.size(0), 1}, latents.options())}, 1).to(at::kDouble);
  const auto squares = x.t().matmul(x);
  const auto ridge = kRidge * squares.diagonal().mean() * at::eye(x.size(1), x.options());
  return LatentColors(at::linalg_solve(squares + ridge, x.t().matmul(pictures.to(at::kDouble))).to(at::kFloat));
}

Tensor LatentColors::operator()(const Tensor& latents) const {
  const auto x = latents[0].permute({1, 2, 3, 0}).to(at::kCPU, at::kFloat);
  const auto channels = map_.size(0) - 1;
  const auto colors = at::matmul(x, map_.slice(0, 0, channels)) + map_[channels];
  return colors.clamp(0, 1).mul(255).round().to(at::kByte);
}

Tensor shrink(const Tensor& video, at::IntArrayRef latents) {
  const auto count = video.size(2), frames = latents[2];
  const auto ratio = frames == 1 ? count : (count - 1) / (frames - 1);
  std::vector<Tensor> shrunk;
  for (int64_t t = 0; t < frames; ++t) {
    const auto end = count - (frames - 1 - t) * ratio, begin = t == 0 ? 0 : end - ratio;
    const auto frame = video[0].slice(1, begin, end).mean(1);  // [3, H, W]
    shrunk.push_back(at::adaptive_avg_pool2d(frame, {latents[3], latents[4]}).permute({1, 2, 0}));
  }
  return at::stack(shrunk);
}

namespace {

constexpr const char* kMapName = "map";

// What an earlier run kept; a damaged file counts as none, and is written anew.
std::optional<LatentColors> read_colors(const std::filesystem::path& file, int64_t channels) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  try {
    const auto map = read_safetensors(file).at(kMapName).clone();
    const bool fits = map.sizes() == at::IntArrayRef{channels + 1, 3} && map.scalar_type() == at::kFloat;
    return fits ? std::optional(LatentColors(map)) : std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace

LatentColors colors_of(VideoJob& job, const std::filesystem::path& cache, const Progress& progress) {
  const auto path = job.parts(Phase::vae).front()->files();
  const auto file = cache / fmt::format("{}.safetensors", fingerprint(ModelPaths{.model = path}));
  if (!cache.empty())
    if (const auto kept = read_colors(file, job.sample_shape()[1])) return *kept;
  auto colors = fit_to_decoder(job, progress);
  if (cache.empty()) return colors;
  try {
    std::filesystem::create_directories(cache);
    save_safetensors(file, {{kMapName, colors.map()}});
  } catch (const std::exception&) {
    return colors;  // they are fitted again the next time
  }
  return colors;
}

void Previewer::operator()(const std::function<Tensor()>& denoised) {
  const auto now = Clock::now();
  const std::chrono::duration<double> wait(
      preview_.every == 0 ? 0 : std::max(preview_.every, took_.count() / kMostOfTheTime));
  if (last_ && now - *last_ < wait) return;
  preview_.show(colors_(denoised()));
  last_ = Clock::now();
  took_ = *last_ - now;
}

}  // namespace eav
