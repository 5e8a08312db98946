#include "tests/bench/number_flags.h"

#include <map>

namespace thermocline::bench {

CLI::Option* AddCount(CLI::App& app, const std::string& flag, uint64_t& count, const std::string& unset,
                      const std::string& description) {
  const std::map<std::string, uint64_t> units = {{"k", 1'000}, {"M", 1'000'000}, {"B", 1'000'000'000}};
  return app.add_option(flag, count, description)
      ->transform(CLI::AsNumberWithUnit(units).description(""))
      ->type_name("COUNT")
      ->default_str(unset);
}

CLI::Option* AddSize(CLI::App& app, const std::string& flag, uint64_t& bytes, const std::string& unset,
                     const std::string& description) {
  return app.add_option(flag, bytes, description)
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true).description(""))
      ->type_name("SIZE")
      ->default_str(unset);
}

}  // namespace thermocline::bench
