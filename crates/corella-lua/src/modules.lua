-- Modules: `require` and its kin. They read as everything does, so that a module may do I/O while it is loaded.
local raw = ...

local error, ipairs, pcall, select, tostring, type = error, ipairs, pcall, select, tostring, type
local concat, gmatch, gsub = table.concat, string.gmatch, string.gsub
local can_wait, FileHandle, fs, load, Scheduler = raw.can_wait, FileHandle, fs, load, Scheduler

local preload, loaded = package.preload, package.loaded
local modules = {}
-- What is being loaded, each with a task that ends when it is.
local loading = {}

local function read_script(path)
  local file <close> = FileHandle.open(path)
  return raw.without_shebang(file:readall())
end

function modules.loadfile(path, mode, ...)
  local ok, source = pcall(path and read_script or function() return raw.without_shebang(_G.stdin:readall()) end, path)
  if not ok then
    return nil, tostring(source)
  elseif select("#", ...) > 0 then
    return load(source, "@" .. (path or "stdin"), mode, (...))
  end
  return load(source, "@" .. (path or "stdin"), mode)
end

function modules.dofile(path)
  local chunk, problem = modules.loadfile(path)
  if not chunk then
    error(problem, 0)
  end
  return chunk()
end

-- Templates are as in stock Lua; those of the script's own folder come first.
function modules.searchpath(name, templates, separator, replacement)
  local file_name = gsub(name, "%" .. (separator or "."), replacement or "/")
  local tried = {}
  for template in gmatch(templates, "[^;]+") do
    local path = gsub(template, "%?", (gsub(file_name, "%%", "%%%%")))
    local ok, found = pcall(fs.stat, path)
    if ok and found.kind == "file" then
      return path
    end
    tried[#tried + 1] = "no file '" .. path .. "'"
  end
  return nil, concat(tried, "\n\t")
end

-- The searchers, in their order.
modules[1] = function(name)
  local call = preload[name]
  return call or "no field package.preload['" .. name .. "']", ":preload:"
end

modules[2] = function(name)
  local path, problem = package.searchpath(name, package.path)
  if not path then
    return problem
  end
  local chunk, wrong = modules.loadfile(path)
  if not chunk then
    error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. wrong, 0)
  end
  return chunk, path
end

local function load_module(name)
  local tried = {}
  for _, searcher in ipairs(package.searchers) do
    local call, detail = searcher(name)
    if type(call) == "function" then
      local value = call(name, detail)
      if value ~= nil then
        loaded[name] = value
      elseif loaded[name] == nil then
        loaded[name] = true
      end
      return loaded[name], detail
    elseif type(call) == "string" then
      tried[#tried + 1] = call
    end
  end
  error("module '" .. name .. "' not found:\n\t" .. concat(tried, "\n\t"), 0)
end

function modules.require(name)
  if type(name) ~= "string" then
    error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2)
  elseif loaded[name] ~= nil then
    return loaded[name]
  elseif not can_wait() and not preload[name] then
    error(raw.cannot_wait("require"), 2)
  end
  local current = Scheduler.current()
  -- Another task is at it: what it gets is good for this one too.
  while loading[name] do
    if loading[name].task == current then
      error("loop or previous error loading module '" .. name .. "'", 2)
    end
    loading[name].done:receive()
    if loaded[name] ~= nil then
      return loaded[name]
    end
  end
  local attempt = { task = current, done = Scheduler.channel() }
  loading[name] = attempt
  local ok, value, detail = pcall(load_module, name)
  loading[name] = nil
  attempt.done:close()
  if not ok then
    error(value, 0)
  end
  return value, detail
end

return modules
