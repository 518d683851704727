// What stands beside the weights of ComfyUI's quantised layers, by the last part of its key.
#pragma once
#include <array>
#include <string_view>

namespace eav {

// What says how, and scales; those of inputs are for products in float8, which are not done.
inline constexpr std::array kQuantisedBy{"scale_weight", "weight_scale", "comfy_quant", "scale_input", "input_scale"};
// Says that a file has scaled float8 weights.
inline constexpr std::string_view kScaledMarker = "scaled_fp8";

}  // namespace eav
