#include "base/json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "eav/error.h"
#include "eav/record.h"
#include "weights/config.h"
#include "weights/safetensors.h"

namespace eav {
namespace {

std::string nested(size_t depth, const std::string& begin, const std::string& end) {
  std::string text;
  for (size_t i = 0; i < depth; ++i) text += begin;
  text += "1";
  for (size_t i = 0; i < depth; ++i) text += end;
  return text;
}

TEST(ParseJson, ReadsWhatIsNotDeep) {
  EXPECT_EQ(parse_json(nested(60, "[", "]")).size(), 1u);
  EXPECT_EQ(parse_json(nested(60, R"({"a":)", "}"))["a"].size(), 1u);
  const std::string brackets(1000, '['), text = R"({"a": ")" + brackets + R"(\"]["})";  // in a string they are text
  EXPECT_EQ(parse_json(text)["a"].get<std::string>(), brackets + "\"][");
}

TEST(ParseJson, DiscardsTheRest) {
  for (const auto& text : {nested(65, "[", "]"), nested(1000000, "[", "]"), nested(1000000, R"({"a":)", "}"),
                           std::string(1000000, '['), std::string("{"), std::string()})
    EXPECT_TRUE(parse_json(text).is_discarded()) << text.substr(0, 20);
}

// Every reader of files goes through it.
TEST(ParseJson, ServesAllReaders) {
  const auto file = std::filesystem::temp_directory_path() / ("eav-json-" + std::to_string(::getpid()));
  const auto write = [&](const std::string& text) { std::ofstream(file, std::ios::binary) << text; };
  const auto deep = R"({"request": )" + nested(1000000, R"({"a":)", "}") + "}";
  write(deep);
  EXPECT_THROW(JsonFile{file}, Error);
  EXPECT_THROW(read_record(file), Error);
  EXPECT_THROW(read_trace(file), Error);
  const uint64_t size = deep.size();
  write(std::string(reinterpret_cast<const char*>(&size), sizeof size) + deep);
  EXPECT_THROW(SafetensorsFile{file}, Error);
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace eav
