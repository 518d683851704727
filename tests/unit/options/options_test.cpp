// What families declare, and what becomes of it: every option goes through a record, is checked, and stands in docs.
#include "models/ltx_video/options.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "eav/error.h"
#include "eav/option.h"
#include "eav/record.h"
#include "options/json.h"

namespace eav {
namespace {

using Type = OptionSpec::Type;

// A value that the option takes and that is not its default.
Value another_value(const OptionSpec& spec) {
  switch (spec.type) {
    case Type::boolean:
      return !(spec.standard && std::get<bool>(*spec.standard));
    case Type::whole: {
      const auto standard = spec.standard ? std::get<int64_t>(*spec.standard) : 0;
      return static_cast<double>(standard) + 1 <= spec.most ? standard + 1 : standard - 1;
    }
    case Type::seed:
      return uint64_t{18446744073709551615u};  // above what a signed number holds
    case Type::number: {
      const double middle = spec.least + (spec.most - spec.least) / 3;  // with many digits
      return spec.standard == Value(middle) ? (spec.least + middle) / 2 : middle;
    }
    case Type::text:
      return spec.name == "enhance_layers" ? "0-5,8" : "größer, \"anders\"\n" + spec.name;
    case Type::choice: {
      for (const auto& choice : spec.choices)
        if (spec.standard != Value(choice)) return choice;
      return spec.choices[0];  // it has one alone
    }
    case Type::numbers:
      return std::vector<double>{1000, 909.1, 1.0 / 3};
    case Type::conditions:
      return std::vector<Condition>{{.file = "/a picture.png"},
                                    {.file = "/b.mp4", .is_video = true, .frame_index = -1, .strength = 1.0 / 3}};
  }
  return false;
}

class OptionsOfFamily : public testing::TestWithParam<FamilyOptions> {};

TEST_P(OptionsOfFamily, ComeBackFromARecord) {
  Record record;
  for (const auto& spec : GetParam().options)
    if (spec.recorded) record.request.set(spec.name, checked(spec, another_value(spec)));
  const auto file = std::filesystem::temp_directory_path() / ("eav-options-" + std::to_string(getpid()) + ".json");
  std::ofstream(file) << to_json(record, Trace{});
  const auto read = read_record(file);
  std::filesystem::remove(file);
  EXPECT_EQ(read.request, record.request);
  const auto asked = read.request.asked();
  for (const auto& spec : GetParam().options)
    if (spec.recorded) {
      ASSERT_TRUE(asked.contains(spec.name)) << spec.name;
      EXPECT_EQ(asked.at(spec.name), another_value(spec)) << spec.name;
      if (spec.choices.size() != 1 && spec.standard) {
        EXPECT_NE(asked.at(spec.name), *spec.standard) << spec.name;
      }
    }
}

TEST_P(OptionsOfFamily, AreRefusedOutsideTheirRange) {
  for (const auto& spec : GetParam().options) {
    if (spec.type == Type::whole || spec.type == Type::number) {
      EXPECT_THROW(parse_value(spec, "nan"), Error) << spec.name;
      EXPECT_THROW(parse_value(spec, std::to_string(spec.least - 1)), Error) << spec.name;
      EXPECT_THROW(parse_value(spec, std::to_string(spec.most + 1)), Error) << spec.name;
    }
    if (spec.type == Type::choice) {
      EXPECT_THROW(parse_value(spec, "another"), Error) << spec.name;
    }
    try {
      checked(spec, spec.type == Type::conditions ? Value(true) : Value(std::vector<Condition>()));
      ADD_FAILURE() << spec.name << " took a value of another type";
    } catch (const Error& error) {
      EXPECT_EQ(error.option(), spec.name);
    }
  }
}

TEST_P(OptionsOfFamily, TakeWholeNumbersForRealOnes) {
  for (const auto& spec : GetParam().options)
    if (spec.type == Type::number) {
      EXPECT_EQ(value_of_json(spec, nlohmann::json(1)), Value(1.0)) << spec.name;
    }
}

INSTANTIATE_TEST_SUITE_P(Families, OptionsOfFamily, testing::ValuesIn(all_options()), [](const auto& info) {
  auto name = info.param.family;
  std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
  return name;
});

TEST(Options, OfOneNameHaveOneType) {
  std::map<std::string, Type> types;
  for (const auto& [family, options] : all_options())
    for (const auto& spec : options) {
      const auto [known, is_new] = types.emplace(spec.name, spec.type);
      EXPECT_EQ(known->second, spec.type) << spec.name << " of " << family;
    }
}

TEST(Options, StandInTheDocs) {
  std::ifstream in(EAV_DOCS "/options.md");
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_EQ(text.str(), options_markdown()) << "write it anew: ./eav options --markdown > docs/options.md";
}

TEST(Options, ACheckpointsOwnDefaultsReplaceTheFamilys) {
  const ltx_video::Options options({.values = {{"steps", int64_t{7}}},
                                    .standards = {{"steps", int64_t{3}}, {"guidance", 1.5}, {"vae_tiling", "on"}}});
  EXPECT_EQ(options.steps, 7);
  EXPECT_EQ(options.guidance, 1.5);
  EXPECT_TRUE(options.tiled());
  EXPECT_EQ(options.width, 704);
}

TEST(Options, AutoIsAWeightToo) {
  Request request;
  request.set("enhance_weight", "auto");
  EXPECT_TRUE(request.enhance.adaptive);
  EXPECT_EQ(request.asked().at("enhance_weight"), Value("auto"));
  request.set("enhance_weight", 2.0);
  EXPECT_FALSE(request.enhance.adaptive);
  EXPECT_EQ(request.enhance.weight, 2.0);
  request.unset("enhance_weight");
  EXPECT_EQ(request, Request());
  EXPECT_THROW(request.set("steps", "many"), Error);
}

}  // namespace
}  // namespace eav
