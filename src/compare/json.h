// Parts of a comparison as JSON, which its file of results and its page share.
#pragma once
#include <nlohmann/json.hpp>
#include <vector>

#include "eav/comparison.h"

namespace eav {

// The mean gain, weight, seconds and evaluations of a variant.
nlohmann::ordered_json mean_enhancement(const std::vector<PairSamples>& samples, const Variant& variant);
// A contrast without its pairs.
nlohmann::ordered_json summary(const Contrast& contrast);
nlohmann::ordered_json summary(const Nearness& nearness);

}  // namespace eav
