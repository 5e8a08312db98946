#pragma once

#include <chrono>
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

// An option that takes one of a few words.
template <class Value>
void AddChoice(CLI::App* app, const std::string& name, std::vector<std::pair<std::string, Value>> choices,
               Value& target, const std::string& description) {
  std::string words;
  for (const auto& [word, value] : choices) words += (words.empty() ? "" : "|") + word;
  app->add_option_function<std::string>(
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

}  // namespace thermocline::cli
