// The small values of a request, and the advice that errors give.
#include "eav/request.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "eav/error.h"
#include "options/sizes.h"

namespace eav {
namespace {

std::string message(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(LayerSet, ReadsNumbersAndRanges) {
  const auto layers = LayerSet::parse("0-5,8");
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(layers.contains(i), i <= 5 || i == 8) << i;
  EXPECT_EQ(layers.str(), "0-5,8");
  EXPECT_TRUE(LayerSet{}.contains(1000));
  EXPECT_EQ(LayerSet::parse(""), LayerSet{});
  for (const auto* bad : {",", "1,", "a", "3-1", "-1", "1-", "1 - 2", "99999999999999999999"})
    EXPECT_THROW(LayerSet::parse(bad), Error) << bad;
}

TEST(Runtime, TypesOfPartsAreReadAndWritten) {
  for (const auto* text : {"auto", "bfloat16", "bfloat16,vae=float32", "float16,text_encoder=bfloat16,vae=float32"}) {
    Runtime runtime;
    set_dtypes(runtime, text);
    EXPECT_EQ(dtypes_of(runtime), text);
  }
  Runtime runtime;
  set_dtypes(runtime, "float16,vae=bfloat16");
  EXPECT_EQ(runtime.dtype, Dtype::float16);
  EXPECT_EQ(runtime.part_dtypes, (std::map<std::string, Dtype>{{"vae", Dtype::bfloat16}}));
  for (const auto* bad : {"", "int8", "bfloat16,", "bfloat16,vae", "bfloat16,vae=", "bfloat16,vae=auto", "vae=float32"})
    EXPECT_THROW(set_dtypes(runtime, bad), Error) << bad;
}

TEST(Runtime, QuantisationOfPartsIsReadAndWritten) {
  for (const auto* text : {"none", "int8", "int8,text_encoder=none", "none,transformer=int8"}) {
    Runtime runtime;
    set_quantize(runtime, text);
    EXPECT_EQ(quantize_of(runtime), text);
  }
  Runtime runtime;
  for (const auto* bad : {"", "int4", "int8,", "int8,text_encoder", "int8,text_encoder=", "text_encoder=int8"})
    EXPECT_THROW(set_quantize(runtime, bad), Error) << bad;
}

TEST(Requests, SizesAreAdvised) {
  EXPECT_EQ(message([] { check_size("width", 64, 16); }), "no error");
  EXPECT_NE(message([] { check_size("width", 70, 16); }).find("the nearest are 64 and 80"), std::string::npos);
  EXPECT_NE(message([] { check_size("width", 3, 16); }).find("the nearest is 16"), std::string::npos);
  EXPECT_NE(message([] { check_size("width", -5, 16); }).find("the nearest is 16"), std::string::npos);
  EXPECT_NE(message([] { check_size("height", 800, 16, 768); }).find("the nearest is 768"), std::string::npos);
}

TEST(Requests, FrameCountsAreAdvised) {
  for (const int64_t good : {1, 9, 17, 49}) EXPECT_EQ(message([&] { check_frames(good, 8); }), "no error");
  EXPECT_NE(message([] { check_frames(24, 8); }).find("17 and 25"), std::string::npos);
  EXPECT_NE(message([] { check_frames(5, 8); }).find("1 and 9"), std::string::npos);
  EXPECT_NE(message([] { check_frames(0, 8); }).find("the nearest is 1"), std::string::npos);
}

}  // namespace
}  // namespace eav
