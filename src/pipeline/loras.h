// Hands the changes of LoRAs to the transformers that they are for.
#pragma once
#include <string>
#include <vector>

#include "eav/lora.h"
#include "models/family.h"

namespace eav {

// From the next opening on, the family's transformers have the LoRAs' changes. Returns for each LoRA what of it is
// applied, in one line. Throws eav::Error where a file is no LoRA, is of another size than the model, or fits nothing
// of it: the message says what it was made for.
std::vector<std::string> apply_loras(const std::vector<Lora>& loras, Family& family);

}  // namespace eav
