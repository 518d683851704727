// The .safetensors format; a file of it is a TensorFile. What writes it is in eav/safetensors.h.
#pragma once
#include "eav/safetensors.h"
#include "weights/tensor_file.h"

namespace eav {

using SafetensorsFile = TensorFile;

}  // namespace eav
