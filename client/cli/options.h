#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "client/cli/text.h"

// Kinds of options that several commands have.
namespace thermocline::cli {

template <class Duration>
void AddDuration(CLI::App* app, const std::string& name, Duration& target, const std::string& description) {
  app->add_option_function<std::string>(
         name,
         [&target, name](const std::string& text) {
           const absl::StatusOr<std::chrono::milliseconds> duration = ParseDuration(text);
           if (!duration.ok()) throw CLI::ValidationError(name, std::string(duration.status().message()));
           target = *duration;
         },
         description)
      ->type_name("TIME");
}

// A whole number without a sign, which is given to `set`. The library's own reading of one takes -1 for the
// largest there is.
template <class Set>
CLI::Option* AddNumber(CLI::App* app, const std::string& name, Set set, const std::string& description) {
  return app->add_option_function<std::string>(
      name,
      [set, name](const std::string& text) {
        uint64_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc() || end != text.data() + text.size()) {
          throw CLI::ValidationError(
              name, fmt::format("\"{}\" is not a whole number from 0 to 18446744073709551615", text));
        }
        set(number);
      },
      description);
}

// An option that takes one of a few words.
template <class Value>
CLI::Option* AddChoice(CLI::App* app, const std::string& name,
                       std::vector<std::pair<std::string, Value>> choices, Value& target,
                       const std::string& description) {
  std::string words;
  for (const auto& [word, value] : choices) words += (words.empty() ? "" : "|") + word;
  return app
      ->add_option_function<std::string>(
          name,
          [&target, name, words, choices = std::move(choices)](const std::string& text) {
            for (const auto& [word, value] : choices) {
              if (word != text) continue;
              target = value;
              return;
            }
            throw CLI::ValidationError(name, fmt::format("\"{}\" is none of {}", text, words));
          },
          description)
      ->type_name(words);
}

// An option that may be given several times, with a single value each time.
inline CLI::Option* AddRepeated(CLI::App* app, const std::string& name, std::vector<std::string>& target,
                                const std::string& description) {
  return app->add_option(name, target, description)->allow_extra_args(false);
}

}  // namespace thermocline::cli
