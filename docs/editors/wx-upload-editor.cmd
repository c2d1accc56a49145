@echo off
rem Uploads pictures for an editor, and prints their links, one a line, in the order of the paths.
rem
rem Enter the full path of this file in the editor. The path must have no blanks, as cmd gets it without quotes.
rem - Typora: Preferences, Image, Image Uploader: Custom Command. It passes the paths.
rem - MarkText: Preferences, Image, Uploader: Command line script. It passes one path. New versions start no .cmd: there,
rem   name a copy of this file picgo.cmd, put its directory on the PATH, and choose the uploader PicGo, which passes `u`.
rem - Obsidian, plugin Image auto upload: PicGo-Core path. It passes the word `upload`, then the paths.
rem
rem The program and config.json are beside this file, or two directories above it, as in the archive. A program on the
rem PATH is found, too. The editor's own directory does not matter: a config.json there may be another program's.

setlocal
set "here=%~dp0"
if /i "%here:~-14%"=="\docs\editors\" set "here=%here:~0,-13%"

set "program=%here%wx-upload.exe"
set "call="
if not exist "%program%" for %%P in (wx-upload.exe) do set "program=%%~$PATH:P"
rem npm puts a .cmd on the PATH.
if not defined program for %%P in (wx-upload.cmd) do set "program=%%~$PATH:P"& set "call=call"
if not defined program echo error: "%here%wx-upload.exe": there is no such program>&2& exit /b 2
set "config=%here%config.json"
if not exist "%config%" for %%P in ("%program%") do if exist "%%~dpPconfig.json" set "config=%%~dpPconfig.json"

rem MarkText looks for the link behind these words.
if "%~1"=="u" echo [PicGo SUCCESS]:

rem --unique: pictures in different articles often have the same name.
%call% "%program%" --quiet --format url --unique --config "%config%" %*
set "status=%errorlevel%"

rem Obsidian's plugin does not look at the exit status, but at these words.
if not "%status%"=="0" if "%~1"=="upload" echo PicGo ERROR
exit /b %status%
