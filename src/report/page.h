// Pages that show results: one file each, which needs nothing else and loads nothing.
#pragma once
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace eav {

enum class Report { compare, attention_maps };

// The page that shows `data`, by the script of the report.
std::string report_page(Report report, const std::string& title, const nlohmann::ordered_json& data);

// The colour that the pages' style calls `name` ("ink"), on a light ground: RGB, for pictures that go with them.
std::array<uint8_t, 3> page_colour(const std::string& name);

}  // namespace eav
