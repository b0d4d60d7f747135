/* SPDX-License-Identifier: Apache-2.0 */
/* Drivers, plug-ins and logical names. The library may hold a lock while it lists: the visitors
 * therefore copy, without the GIL, and Python objects are made afterwards. */
#include "module.h"

#include <new>
#include <optional>
#include <vector>

namespace py = pybind11;

namespace
{

using Text = std::optional<std::string>;

struct Attribute {
    std::string name, doc;
    Text unit, initial;
    std::vector<std::string> choices;
    std::vector<const char *> choice_pointers;
    hal_attribute row;

    explicit Attribute(const hal_attribute &from)
        : name(from.name), doc(from.doc ? from.doc : ""), row(from)
    {
        if (from.unit)
            unit = from.unit;
        if (from.initial)
            initial = from.initial;
        for (const char *const *choice = from.choices; choice && *choice; choice++)
            choices.emplace_back(*choice);
    }

    py::tuple fields()
    {
        for (const std::string &choice : choices)
            choice_pointers.push_back(choice.c_str());
        choice_pointers.push_back(nullptr);
        row.name = name.c_str();
        row.doc = doc.c_str();
        row.unit = unit ? unit->c_str() : nullptr;
        row.initial = initial ? initial->c_str() : nullptr;
        row.choices = choice_pointers.data();
        return attribute_fields(row);
    }
};

struct Match {
    std::string fits, address, note;
};

struct Driver {
    std::string name;
    hal_driver_state state;
    Text path, version, summary, address, reason;
    uint64_t open;
    std::vector<Attribute> attributes;
    std::vector<Match> matches;
};

Text text(const char *from)
{
    return from ? Text(from) : Text();
}

/* A visitor is called by C: nothing may be thrown through it. */
int copy_driver(const hal_driver_info *info, void *arg)
try {
    auto *out = static_cast<std::vector<Driver> *>(arg);
    Driver driver = {info->name,
                     info->state,
                     text(info->path),
                     text(info->version),
                     text(info->summary),
                     text(info->address),
                     text(info->reason),
                     info->open,
                     {},
                     {}};

    for (size_t i = 0; i < info->attribute_count; i++)
        driver.attributes.emplace_back(info->attributes[i]);
    for (size_t i = 0; i < info->match_count; i++) {
        const hal_match &row = info->matches[i];
        driver.matches.push_back({row.fits, row.address, row.note ? row.note : ""});
    }
    out->push_back(std::move(driver));
    return 0;
} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

py::object str_or_none(const Text &from)
{
    return from ? py::object(str_of(from->c_str())) : py::object(py::none());
}

py::list drivers()
{
    std::vector<Driver> found;
    py::list out;

    check(blocking([&] {
              found.clear();
              return (long)hal_driver_each(copy_driver, &found);
          }),
          "drivers");
    for (Driver &driver : found) {
        py::list attributes, matches;
        for (Attribute &attribute : driver.attributes)
            attributes.append(attribute.fields());
        for (Match &row : driver.matches)
            matches.append(py::make_tuple(str_of(row.fits.c_str()), str_of(row.address.c_str()),
                                          str_of(row.note.c_str())));
        out.append(py::make_tuple(str_of(driver.name.c_str()), (int)driver.state,
                                  str_or_none(driver.path), str_or_none(driver.version),
                                  str_or_none(driver.summary), str_or_none(driver.address),
                                  str_or_none(driver.reason), driver.open, attributes, matches));
    }
    return out;
}

using Binding = std::pair<std::string, std::string>;

int copy_binding(const char *name, const char *uri, void *arg)
try {
    static_cast<std::vector<Binding> *>(arg)->emplace_back(name, uri);
    return 0;
} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

py::dict bindings()
{
    std::vector<Binding> found;
    py::dict out;

    check(blocking([&] {
              found.clear();
              return (long)hal_binding_each(copy_binding, &found);
          }),
          "bindings");
    for (const Binding &binding : found)
        out[str_of(binding.first.c_str())] = str_of(binding.second.c_str());
    return out;
}

long load_drivers()
{
    return check(blocking([] { return hal_load_drivers(); }), "load drivers");
}

void load_driver(const py::str &path)
{
    std::string file = text_of(path, "load driver: the path");

    check(blocking([&] { return (long)hal_load_driver(file.c_str()); }), "load driver");
}

void bind_name(const py::str &name, const py::str &uri)
{
    std::string key = text_of(name, "bind: the name"), value = text_of(uri, "bind: the URI");

    check(blocking([&] { return (long)hal_bind(key.c_str(), value.c_str()); }), "bind");
}

void unbind_name(const py::str &name)
{
    std::string key = text_of(name, "unbind: the name");

    check(blocking([&] { return (long)hal_unbind(key.c_str()); }), "unbind");
}

} // namespace

void bind_registry(py::module_ &m)
{
    m.def("drivers", drivers);
    m.def("load_drivers", load_drivers);
    m.def("load_driver", load_driver, py::arg("path"));
    m.def("driver_dir", [] { return str_of(hal_driver_dir()); });
    m.def("bind", bind_name, py::arg("name"), py::arg("uri"));
    m.def("unbind", unbind_name, py::arg("name"));
    m.def("bindings", bindings);
}
