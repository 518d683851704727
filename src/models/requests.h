// What every family does with a request: defaults that ship with a checkpoint, and checks with advice.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eav/request.h"

namespace eav {

// Fills unset fields from `model`/eav.json, where there is one: "width", "height", "frames", "fps", "steps",
// "guidance", "scheduler" and "enhance_weight". Throws eav::Error for any other field or a wrong type.
void apply_checkpoint_defaults(Request& request, const std::filesystem::path& model);

// Fields that do not depend on the family: finite numbers, their ranges, enhancement fractions, UTF-8 prompts; `layers`
// is the number of transformer layers. The request's optional fields are set.
void check_common(const Request& request, int64_t layers);

// Some options serve only some models, such as "true guidance" (requests.cpp lists them). Throws when
// the request sets any but those of `has`.
void check_has_only(const Request& request, const std::string& family, const std::vector<std::string>& has);

// Throws when the request's scheduler is not "euler", the one of a family that matches flows.
void check_euler(const Request& request, const std::string& family);

// Throws when a number is set and outside 0 to 1.
void check_fraction(const std::string& name, const std::optional<double>& value);

// Throws when `value` is no positive multiple of `multiple` or above `most` (0: no limit), naming the nearest that are.
void check_size(const std::string& name, int64_t value, int64_t multiple, int64_t most = 0);

// Throws when `frames` is neither 1 nor 1 more than a multiple of `multiple`, naming its neighbours.
void check_frames(int64_t frames, int64_t multiple);

// A seed that nobody chose, below 2^32 so that it is easily typed again.
uint64_t draw_seed();

// The tensor "latents" of a .safetensors file, which must have this shape.
at::Tensor load_latents(const std::filesystem::path& file, at::IntArrayRef shape);

// The noise that a request begins with, on the CPU: that of its file, or the generator's.
at::Tensor initial_latents(const Request& request, at::IntArrayRef shape, at::Generator& generator,
                           at::ScalarType type);

// float frames [1, 3, F, H, W] in -1..1 -> [F, H, W, 3] uint8 on the CPU, rounded as diffusers' VideoProcessor does.
at::Tensor to_pictures(const at::Tensor& video);

}  // namespace eav
