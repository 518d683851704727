// What the enhancement saw and did, as a page and as a picture.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "eav/trace.h"

namespace [[gnu::visibility("default")]] eav {

// One HTML file: CFI and gain over steps and layers, CFI of heads, and the temporal attention maps where the trace has
// them. Throws eav::Error for a trace without entries.
std::string attention_maps_page(const Trace& trace);

// What the page shows as a picture [H, W, 3] uint8 on the CPU, RGB, the maps as means over steps. Throws as the page
// does.
at::Tensor attention_maps_picture(const Trace& trace);

}  // namespace eav
